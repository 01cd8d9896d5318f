"""`make pictures`: make the pictures of the documentation. It needs Chromium and certutil."""

from __future__ import annotations

from docs.pictures import refusal, tour
from docs.pictures.badges import ROOT, badges
from docs.pictures.browser import take

DOCS = ROOT / "docs"

for name, badge in badges().items():
    (DOCS / name).write_text(badge, "utf-8")
for drawn in (tour, refusal):
    name = drawn.__name__.rpartition(".")[2]
    (DOCS / f"{name}.svg").write_text(drawn.picture(), "utf-8")
take(page=DOCS / "browser.png", status=DOCS / "page.png")
