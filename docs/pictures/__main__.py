"""`make pictures`: make the pictures of the documentation. It needs Chromium and certutil."""

from __future__ import annotations

from docs.pictures.badges import ROOT, badges
from docs.pictures.browser import take
from docs.pictures.refusal import picture

DOCS = ROOT / "docs"

for name, badge in badges().items():
    (DOCS / name).write_text(badge, "utf-8")
(DOCS / "refusal.svg").write_text(picture(), "utf-8")
take(page=DOCS / "browser.png", status=DOCS / "page.png")
