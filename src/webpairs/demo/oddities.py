"""List what real crawls are full of and the little web therefore holds, apart from its captions."""

from __future__ import annotations

from typing import Final

from webpairs.demo.page import Licence, OptOut
from webpairs.drops import Drop

LICENCES: Final = (
    None,
    Licence("CC-BY-4.0", "a", "https://creativecommons.org/licenses/by/4.0/"),
    None,
    Licence("CC0-1.0", "link", "https://creativecommons.org/publicdomain/zero/1.0/"),
    None,
    Licence("CC-BY-SA-4.0", "json-ld", "https://creativecommons.org/licenses/by-sa/4.0/"),
    None,
    Licence("CC-BY-NC-2.0", "a", "https://creativecommons.org/licenses/by-nc/2.0/", rel=None),
)

OPT_OUTS: Final = (
    OptOut("meta", "robots", "noai", "robots-meta:noai"),
    OptOut("header", "X-Robots-Tag", "noimageai", "x-robots-tag:noimageai"),
    OptOut("meta", "robots", "index, follow, noimageindex", "robots-meta:noimageindex"),
    OptOut("header", "tdm-reservation", "1", "tdm-reservation-header"),
    OptOut("meta", "tdm-reservation", "1", "tdm-reservation-meta"),
    OptOut("header", "X-Robots-Tag", "noimageai, noai", "x-robots-tag:noai"),
    OptOut("meta", "ROBOTS", "NONE", "robots-meta:none"),
    OptOut("header", "X-Robots-Tag", "noml", "x-robots-tag:noml"),
)
NO_OPT_OUTS: Final = (
    OptOut("meta", "robots", "index, follow, max-image-preview:none"),
    OptOut("header", "tdm-reservation", "0"),
    OptOut("meta", "robots", "noarchive"),
    OptOut("header", "X-Robots-Tag", "otherbot: noai"),
)

# Sentences that are clearly of another language.
FOREIGN: Final = (
    "Drei rote Kreise auf einem blauen Hintergrund",
    "Ein gelbes Dreieck vor einer weißen Wand",
    "Dieses Bild zeigt zwei grüne Quadrate nebeneinander",
    "Une photo de trois cercles rouges sur un fond bleu",
    "Cette image montre deux étoiles jaunes sur un mur blanc",
    "Un dessin avec quatre carrés noirs sur du papier vert",
    "Una foto de tres círculos rojos sobre un fondo azul",
    "Esta imagen muestra dos estrellas amarillas en una pared blanca",
    "Un dibujo de cuatro cuadrados negros sobre papel verde",
)

# English texts with letters beyond ASCII: in them charsets and mojibake show.
ACCENTED: Final = (
    "A cup of coffee and a piece of cake at the Café Zoë in Zürich",
    "The old bridge of Besançon, as we saw it on a rainy day",
    "Our team at the office in Málaga – that was a good summer",
    "How to make a crème brûlée that your friends will love",
    "This is the museum of São Paulo, and what it looks like at night",
    "A jalapeño pizza from the little shop in Köln",
    "This is my résumé, and a photo of me in front of the school where I learned all this",
    "A piñata for the birthday of my little sister",
    "The naïve art market in the old town of Orléans",
    "The façade of the church, and the market in front of it",
)

SHORT: Final = ("logo", "pic", "a", "1/4", "©", "\u00a0x\u00a0", "a\n\n   b")
UNWANTED: Final = (
    "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    "/static/spinner.gif",
    "/static/logo.svg?v=3",
    "/favicon.ico",
    "javascript:void(0)",
)
INVALID: Final = (
    "http://[bad/picture.jpg",
    "https://exa mple.example/picture.jpg",
    "http://photos.example:99999/picture.jpg",
)

BROKEN: Final = {
    "missing": Drop.NOT_ARCHIVED,
    "redirect-to-missing": Drop.NOT_ARCHIVED,
    "redirect-loop": Drop.REDIRECT,
    "not-found": Drop.HTTP_4XX,
    "too-many-requests": Drop.HTTP_429,
    "server-error": Drop.HTTP_5XX,
    "opted-out": Drop.OPTED_OUT_IMAGE,
    "thumbnail": Drop.TOO_SMALL,
    "empty": Drop.TOO_SMALL,
    "html": Drop.NOT_AN_IMAGE,
    "gif": Drop.FORMAT,
    "truncated-jpeg": Drop.TRUNCATED,
    "truncated-png": Drop.TRUNCATED,
    "scrambled": Drop.UNDECODABLE,
    "huge": Drop.PIXELS,
}
"""Pictures that no build can use, and why."""
