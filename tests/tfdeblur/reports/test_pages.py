"""Pages are well-formed, escaped and free of scripts, and link by relative paths."""

from html.parser import HTMLParser

from tfdeblur.reports import pages
from tfdeblur.reports.charts import Chart
from tfdeblur.reports.pages import Table

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects the elements of a page and checks that they close in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def render(**options):
    page = Page(pages.render("Run <1> & more", **options))
    assert page.open == []
    assert not page.all("script")
    return page


def test_gallery_without_content_is_a_page():
    page = render()
    assert "Run <1> & more" in page.texts
    assert not page.all("img") and not page.all("table") and not page.all("dl")


def test_pictures_link_to_their_files_by_quoted_paths():
    rows = [("scene <a>", {"blurred": "pictures/a b#1.png", "restored": "pictures/r.png"})]
    page = render(pictures=rows)
    assert [a["href"] for a in page.all("a")] == ["pictures/a%20b%231.png", "pictures/r.png"]
    assert [i["src"] for i in page.all("img")] == [a["href"] for a in page.all("a")]
    assert page.all("img")[0]["alt"] == "blurred: scene <a>"
    assert {"scene <a>", "blurred", "restored"} <= set(page.texts)


def test_pixelated_gallery_has_its_css_class():
    rows = [("", {"blurred": "a.png"})]
    assert {"class": "gallery pixelated"} in render(pictures=rows, pixelated=True).all("section")
    assert {"class": "gallery"} in render(pictures=rows).all("section")


def test_gallery_with_charts_draws_each_with_its_legend():
    chart = Chart("PSNR & SSIM", {"restored": [(0, 20), (100, 25)]}, levels={"input": 22.0})
    page = render(charts=[chart, Chart("empty", {})])
    assert [svg["aria-label"] for svg in page.all("svg")] == ["PSNR & SSIM", "empty"]
    assert {"restored: 25", "input: 22", "images seen", "No values yet."} <= set(page.texts)


def test_gallery_shows_summary_tables_and_notes():
    table = Table(["", "PSNR dB"], [["blurred", "24.80"], ["restored", "28.10"]], "Test split")
    page = render(
        summary=[("images seen", "1,000")], tables=[table], notes=["In float32."], subtitle="cifar"
    )
    assert len(page.all("td")) == 2 and len(page.all("th")) == 4
    assert {"images seen", "1,000", "28.10", "In float32.", "cifar"} <= set(page.texts)


def test_gallery_with_refresh_seconds_reloads_itself():
    refresh = [m for m in render(refresh_seconds=30).all("meta") if "http-equiv" in m]
    assert refresh == [{"http-equiv": "refresh", "content": "30"}]
    assert not [m for m in render().all("meta") if "http-equiv" in m]
