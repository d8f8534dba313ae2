"""A page as a test reads it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """A page that is well formed, or reading it fails.

    ``ids``, ``links`` and ``loaded``: values of attributes; ``tables``: rows of cells' texts;
    ``strong``, ``headings``, ``alts``: texts; ``size``: bytes; ``source``: as it is written.
    """

    def __init__(self, source):
        super().__init__()
        self.source, self.size, self.open = source, len(source.encode()), []
        self.ids, self.links, self.loaded, self.references = [], [], [], []
        self.tables, self.strong, self.headings, self.alts = [], [], [], []
        self.styles = ""
        self.feed(source)
        self.close()
        assert self.open == [], "all is closed"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        self._attributes(tag, dict(attributes))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        for kind, texts in (("strong", self.strong), ("h", self.headings)):
            if tag == kind or (kind == "h" and tag in ("h1", "h2", "h3", "h4")):
                texts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self._attributes(tag, dict(attributes))

    def _attributes(self, tag, held):
        assert tag != "script"
        assert not [name for name in held if name.startswith("on")]
        self.ids += [held["id"]] if "id" in held else []
        for name in ("for", "aria-labelledby"):
            self.references += (held.get(name) or "").split()
        if tag == "a":
            self.links.append(held["href"])
        elif "href" in held or "src" in held:
            self.loaded.append(held.get("href") or held["src"])
        if tag == "img":
            self.alts.append(held["alt"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if "style" in self.open:
            self.styles += data
            return
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if "strong" in self.open:
            self.strong[-1] += data
        if set(self.open) & {"h1", "h2", "h3", "h4"}:
            self.headings[-1] += data
