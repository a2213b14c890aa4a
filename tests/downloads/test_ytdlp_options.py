"""Options of yt-dlp that a user may set, a browser's cookies, and what impersonation needs."""

import os
import sqlite3

import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.downloads.browser_cookies import use_browser_cookies
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.worker.ytdlp import SiteDownloader
from pipeline.downloads.ytdlp_options import require_known
from tests.helpers.downloads.download_helpers import QUICK, clips_table, download, quick


def build_parameters(**values) -> DownloadParameters:
    return build(DownloadParameters, QUICK | values, "download")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignoreerrors": True}, "has 'ignoreerrors', which would hide why a video fails"),
        ({"match_filter": "x"}, "has 'match_filter', which would skip videos without a reason"),
        ({"noplaylist": False}, "which would fetch other videos than the list names"),
        ({"outtmpl": "x"}, "which would put files where they are not looked for"),
        ({"quiet": False}, "which would write between the lines that workers send"),
        ({"password": "x"}, "which is a secret, and cookies are the way to log in"),
        ({"proxy": "http://x:1"}, "has 'proxy', expected download.proxy"),
        ({"http_headers": {"Cookie": "a"}}, "http_headers has 'Cookie', expected download.cook"),
    ],
)
def test_options_that_would_break_the_account_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        build_parameters(yt_dlp_options=options)


def test_an_option_that_yt_dlp_does_not_know_is_told_before_the_first_request(tmp_path, server):
    parameters = quick(yt_dlp_options={"extractor_arg": {}})
    clips = clips_table(("a", server.url_of("/a.mp4")))
    with pytest.raises(ParameterError, match="has 'extractor_arg', did you mean extractor_args"):
        download(tmp_path, clips, parameters=parameters)
    assert not server.num_requests


def test_options_are_merged_last_and_the_ledger_says_which(tmp_path):
    arguments = {"youtube": {"player_client": ["web_safari"]}}
    options = {"extractor_args": arguments, "format_sort": ["res:144"]}
    parameters = build_parameters(yt_dlp_options=options)
    require_known(parameters.yt_dlp_options, impersonate=None)
    worker = SiteDownloader(parameters.for_workers(), private_dir=tmp_path)
    made = worker._make_options()
    assert made["extractor_args"] == arguments and made["format_sort"] == ["res:144"]
    assert made["noplaylist"] is True

    # A change makes another attempt worthwhile, as new versions of the tools do.
    words = parameters.describe_options()
    assert words.startswith("; options extractor_args, format_sort ")
    assert words != build_parameters(yt_dlp_options={"format_sort": ["a"]}).describe_options()
    assert build_parameters().describe_options() == ""


def test_a_token_among_the_options_is_in_no_message():
    token = "web.gvs+MnQ1bXh0eXl5eXl5"
    options = {"extractor_args": {"youtube": {"po_token": [token]}}}
    parameters = build_parameters(yt_dlp_options=options)
    assert token not in parameters.hide_secrets(f"bad token {token}")
    assert token not in repr(parameters)


def test_impersonation_without_its_package_is_told():
    with pytest.raises(ParameterError, match=r"download.impersonate is 'netscape', (expected|no)"):
        require_known({}, impersonate="netscape")


@pytest.fixture
def firefox(tmp_path):
    """Make a profile of Firefox with one cookie; return what names it."""
    profile = tmp_path / "profile"
    profile.mkdir()
    with sqlite3.connect(profile / "cookies.sqlite") as database:
        columns = "host TEXT, name TEXT, value TEXT, path TEXT, expiry INTEGER, isSecure INTEGER"
        database.execute(f"CREATE TABLE moz_cookies ({columns})")
        row = (".youtube.com", "SID", "the-secret-of-a-user", "/", 2_000_000_000, 1)
        database.execute("INSERT INTO moz_cookies VALUES (?, ?, ?, ?, ?, ?)", row)
    return f"firefox:{profile}"


def test_the_cookies_of_a_browser_serve_one_run(firefox):
    parameters = build_parameters(cookies_from_browser=firefox)
    with use_browser_cookies(parameters) as own:
        with open(own.cookies_path) as file:
            assert "the-secret-of-a-user" in file.read()
        assert own.describe_access() == "cookies"
        assert "the-secret" not in own.hide_secrets("SID=the-secret-of-a-user")
    assert not os.path.exists(own.cookies_path)


def test_a_browser_that_is_not_there_is_told():
    parameters = build_parameters(cookies_from_browser="firefox:/nowhere")
    message = "cookies_from_browser is 'firefox:/nowhere': .*export the cookies to a file"
    with pytest.raises(ParameterError, match=message), use_browser_cookies(parameters):
        pytest.fail("there are no cookies")
    with pytest.raises(ParameterError, match="cookies_from_browser is 'mosaic'"):
        with use_browser_cookies(build_parameters(cookies_from_browser="mosaic")):
            pytest.fail("there is no such browser")


def test_files_of_this_machine_need_no_browser(tmp_path):
    parameters = quick(cookies_from_browser="firefox:/nowhere")
    clips = clips_table(("a", (tmp_path / "a.mp4").as_uri()))
    assert download(tmp_path, clips, parameters=parameters)["a"]["reason"] == "gone"
