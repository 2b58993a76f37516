"""A page as a browser sees it: its forms with what their fields hold."""

from html.parser import HTMLParser


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self.actions: list[str] = []
        self._form: dict[str, str] | None = None
        self._select = ""
        self._text = ""

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "form":
            self._form = self.forms.setdefault(a.get("id", a.get("action", "")), {})
            if a.get("method", "").lower() == "post":
                self.actions.append(a.get("action", ""))
        elif tag == "input" and self._form is not None and "name" in a:
            box = a.get("type") in ("checkbox", "radio")
            if a.get("type") != "submit" and (not box or "checked" in a):
                self._form[a["name"]] = a.get("value") or ""
        elif tag == "textarea" and self._form is not None and "name" in a:
            self._text = a["name"]
            self._form[self._text] = ""
        elif tag == "select":
            self._select = a.get("name", "")
        elif tag == "option" and self._select and "selected" in a and self._form is not None:
            self._form[self._select] = a.get("value") or ""

    def handle_data(self, data):
        if self._text and self._form is not None:
            self._form[self._text] += data

    def handle_endtag(self, tag):
        if tag == "textarea" and self._form is not None and self._text:
            self._form[self._text] = self._form[self._text].removeprefix("\n")
            self._text = ""
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""


def forms(response) -> _Forms:
    parser = _Forms()
    parser.feed(response.content.decode())
    return parser


def webhook_form(response) -> dict[str, str]:
    """What pressing Save without touching anything would send."""
    return forms(response).forms["webhook_form"]


def url(model: str, *rest: object) -> str:
    return "/".join(["/admin/webhooks_app", model, *map(str, rest), ""])


def page(row, model="webhook"):
    return url(model, row.pk, "change")


def text_of(response):
    assert response.status_code == 200
    return response.content.decode()
