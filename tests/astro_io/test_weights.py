"""Names of weights to verified files."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from astro_io import weights as module
from astro_io.errors import ConfigError, InputNotFoundError, WeightsError
from astro_io.weights import (
    WeightsEntry,
    add_entry,
    file_sha256,
    main,
    own_folder,
    read_registry,
    registry,
    resolve,
)
from astro_io.weights_cards import add_scores, add_trained, model_card, write_cards

CONTENT = b"tensors" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty $ASTRO_WEIGHTS_DIR, and nothing of the user's or the program's."""
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("ASTRO_WEIGHTS_DIR", str(path))
    monkeypatch.setattr(module, "own_folder", lambda: tmp_path / "program")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return path


@pytest.fixture
def server():
    """A local server that hands out CONTENT; `hits` lists what was asked for."""
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            if self.path != "/w.h5":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        httpd.hits = hits
        httpd.url = f"http://127.0.0.1:{httpd.server_port}"
        yield httpd
        httpd.shutdown()
        thread.join()


def register(folder, **values):
    entry = WeightsEntry(**{"name": "w", "file": "w.h5", **values})
    add_entry(entry, folder / "registry.toml")
    return entry


def test_name_gives_the_verified_file_and_its_entry(folder):
    (folder / "w.h5").write_bytes(CONTENT)
    entry = register(folder, sha256=SHA256, bands=("g", "r", "z"), thresholds={"nms_iou": 0.3})
    assert resolve("w") == (folder / "w.h5", entry)


def test_changed_file_is_refused(folder):
    (folder / "w.h5").write_bytes(CONTENT + b"!")
    register(folder, sha256=SHA256)
    found = hashlib.sha256(CONTENT + b"!").hexdigest()
    text = (
        rf"w\.h5: SHA-256 {found[:8]}… does not match registry {SHA256[:8]}…\. "
        r"Delete it and fetch again\."
    )
    with pytest.raises(WeightsError, match=text):
        resolve("w")


def test_unknown_name_lists_what_there_is(folder):
    register(folder, name="compact-grz-v1")
    register(folder, name="coco")
    with pytest.raises(
        WeightsError,
        match=r"unknown weights 'compact-grz'; did you mean 'compact-grz-v1'\? "
        r"Available: coco, compact-grz-v1\. Or give the path",
    ):
        resolve("compact-grz")
    with pytest.raises(WeightsError, match=r"unknown weights 'qqq'\. Available: coco"):
        resolve("qqq")


@pytest.mark.parametrize("path", ["some/where.h5", "gone.weights.h5"])
def test_path_that_does_not_exist_is_not_taken_for_a_name(folder, path):
    with pytest.raises(InputNotFoundError, match="no such weights file or run folder"):
        resolve(path)


@pytest.mark.parametrize("bar", [False, True])
def test_file_is_downloaded_once(folder, server, monkeypatch, capsys, bar):
    monkeypatch.setattr(module, "shows_progress", lambda: bar)
    register(folder, sha256=SHA256, url=f"{server.url}/w.h5")
    path, entry = resolve("w")
    assert path == folder / "w.h5" and path.read_bytes() == CONTENT
    assert entry.sha256 == SHA256
    resolve("w")
    assert server.hits == ["/w.h5"]
    captured = capsys.readouterr()
    assert ("100%" in captured.err) == bar and captured.out == ""


def test_download_with_the_wrong_hash_is_refused_and_not_kept(folder, server):
    register(folder, sha256="0" * 64, url=f"{server.url}/w.h5")
    with pytest.raises(WeightsError, match="does not match registry 00000000…. Try again"):
        resolve("w")
    assert [path.name for path in folder.iterdir()] == ["registry.toml"]


def test_failed_download_says_where_to_put_the_file(folder, server):
    register(folder, sha256=SHA256, url=f"{server.url}/gone.h5")
    with pytest.raises(WeightsError, match=r"w\.h5: cannot be fetched \(404.*ASTRO_WEIGHTS_DIR"):
        resolve("w")
    url, server_port = server.url, server.server_port
    server.shutdown()
    server.server_close()
    register(folder, sha256=SHA256, url=f"{url}/w.h5")
    with pytest.raises(WeightsError, match=rf"cannot be fetched .*{server_port}.*Fetch it by hand"):
        resolve("w")
    assert [path.name for path in folder.iterdir()] == ["registry.toml"]


def test_file_at_hand_needs_no_network(folder):
    (folder / "w.h5").write_bytes(CONTENT)
    register(folder, sha256=SHA256, url="http://127.0.0.1:1/w.h5")
    assert resolve("w")[0] == folder / "w.h5"


def test_file_without_address_says_where_it_was_looked_for(folder):
    register(folder, sha256=SHA256)
    with pytest.raises(WeightsError, match=rf"w\.h5: not in {re.escape(str(folder))}, .*program"):
        resolve("w")


def test_entry_without_hash_is_pinned_on_first_use(folder, server):
    register(folder, url=f"{server.url}/w.h5")
    path, entry = resolve("w")
    assert entry.sha256 == SHA256
    assert (folder / "w.h5.sha256").read_text() == f"{SHA256}  w.h5\n"
    assert resolve("w")[1].sha256 == SHA256
    path.write_bytes(b"changed")
    with pytest.raises(WeightsError, match="does not match that of its first use, "):
        resolve("w")


def test_path_of_an_undescribed_file_has_no_entry(folder, tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(CONTENT)
    assert resolve(path) == (path, None)
    assert resolve(str(path)) == (path, None)


def test_path_of_a_registered_file_finds_its_entry_only_if_unchanged(folder, tmp_path):
    entry = register(folder, sha256=SHA256)
    copy = tmp_path / "w.h5"
    copy.write_bytes(CONTENT)
    assert resolve(copy) == (copy, entry)
    copy.write_bytes(b"other weights of the same name")
    assert resolve(copy) == (copy, None)


def trained(tmp_path, sha256=SHA256):
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.weights.h5").write_bytes(CONTENT)
    entry = WeightsEntry(name="mine", file="mine.weights.h5", sha256=sha256, seed=3)
    add_entry(entry, run / "mine.entry.toml")
    return run, entry


def test_training_run_describes_its_own_weights(folder, tmp_path):
    run, entry = trained(tmp_path)
    assert resolve(run / "mine.weights.h5") == (run / "mine.weights.h5", entry)
    assert resolve(run) == (run / "mine.weights.h5", entry)
    (run / "mine.weights.h5").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="does not match registry"):
        resolve(run / "mine.weights.h5")


def test_folder_without_a_record_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"expected one \*\.entry\.toml, found 0"):
        resolve(tmp_path / "empty")


def test_trained_weights_are_added_to_a_registry(folder, tmp_path):
    run, entry = trained(tmp_path)
    assert add_trained(run / "mine.entry.toml", folder) == "mine"
    assert resolve("mine") == (folder / "mine.weights.h5", entry)
    (run / "mine.weights.h5").write_bytes(b"half")
    with pytest.raises(WeightsError, match=r"does not match mine\.entry\.toml .*Finish the train"):
        add_trained(run / "mine.entry.toml", folder)


def test_measured_scores_go_into_the_record_of_the_weights_they_are_of(folder, tmp_path, capsys):
    register(folder, sha256=SHA256, scores={"old": {"AP": 1.0}})
    measured = tmp_path / "metrics.json"
    measured.write_text(json.dumps({"scores": {"AP": 74.3}, "weights_sha256": SHA256}))
    arguments = ["w", "--folder", str(folder), "--scores"]
    assert main([*arguments, f"deep = 10 fields={measured}", "--write-cards"]) == 0
    assert "| deep = 10 fields | 74.3 |" in (folder / "w.md").read_text()
    found = read_registry(folder / "registry.toml")["w"].scores
    assert found == {"old": {"AP": 1.0}, "deep = 10 fields": {"AP": 74.3}}
    measured.write_text(json.dumps({"scores": {"AP": 99.0}, "weights_sha256": "0" * 64}))
    assert main([*arguments, f"deep={measured}"]) != 0
    assert "scores of weights 00000000…, but w is" in capsys.readouterr().err


def test_scores_that_cannot_be_taken_are_explained(folder, tmp_path):
    register(folder, sha256=SHA256)
    measured = tmp_path / "metrics.json"
    measured.write_text(json.dumps({"scores": {}}))
    for item, error, message in (
        (f"={measured}", ConfigError, "expected TITLE=path"),
        (f"a={tmp_path / 'none.json'}", InputNotFoundError, "Run the evaluate command"),
        (f"a={measured}", WeightsError, "'weights_sha256'"),
    ):
        with pytest.raises(error, match=message):
            add_scores("w", item, folder)
    with pytest.raises(WeightsError, match="no weights 'v'"):
        add_scores("v", f"a={measured}", folder)


def test_registry_round_trip_keeps_every_field(tmp_path):
    entry = WeightsEntry(
        name="w",
        file="w.h5",
        sha256=SHA256,
        bands=("g", "r"),
        pixel_scale_arcsec=0.262,
        normalization="zscore",
        classes=("background", "star"),
        thresholds={"min_confidence": 0.5},
        training_set="t",
        seed=7,
        scores={"star": {"AP": 48.6}},
        licence="MIT",
        command="python -m x",
        url="http://x/w.h5",
        description="d",
        n_parameters=12,
    )
    add_entry(entry, tmp_path / "registry.toml")
    other = WeightsEntry(name="a", file="a.h5")
    add_entry(other, tmp_path / "registry.toml")
    assert read_registry(tmp_path / "registry.toml") == {"a": other, "w": entry}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[w]\nfile = "w.h5"\nband = ["g"]\n', r"registry.toml \[w\]: unknown key 'band'; did you"),
        ("[w]\n", r"registry.toml \[w\]: key 'file' is missing"),
        ('[w]\nfile = "../w.h5"\n', "expected file as a name without folder"),
        ('[w]\nfile = "w.h5"\nsha256 = "12"\n', "expected sha256 as 64 lower-case hexadecimal"),
        ("[w\n", "registry.toml: not valid TOML"),
    ],
)
def test_malformed_registry_is_explained(folder, text, message):
    (folder / "registry.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        registry()


def test_hash_is_that_of_sha256sum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_model_card_tells_what_is_known_and_no_more():
    entry = WeightsEntry(
        name="w",
        file="w.h5",
        bands=("g", "r"),
        seed=0,
        n_parameters=1_234_567,
        scores={"AP": 50.0, "star": {"AP50": 86.84321}, "galaxy": {"AP50": 80.0, "AP": 1.5}},
        command="python -m astro_rcnn.train a.toml",
    )
    card = model_card(entry)
    assert card.startswith("# w\n")
    for line in (
        "| SHA-256 | pinned on first use |",
        "| Bands | g, r |",
        "| Seed | 0 |",
        "| Parameters | 1,234,567 |",
        "- AP: 50",
        "| | AP50 | AP |",
        "| star | 86.84 | - |",
        "| galaxy | 80 | 1.5 |",
        "python -m astro_rcnn.train a.toml",
    ):
        assert line in card.splitlines(), line
    assert "Licence" not in card and "Pixel scale" not in card


def test_cards_in_the_repository_are_those_of_the_registry():
    for name, entry in read_registry(own_folder() / "registry.toml").items():
        card = (own_folder() / f"{name}.md").read_text(encoding="utf-8")
        assert card == model_card(entry), "run: python -m astro_io.weights --write-cards"


def test_own_registry_knows_where_the_coco_start_comes_from():
    coco = read_registry(own_folder() / "registry.toml")["coco"]
    assert coco.url.endswith("Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5")


def test_command_lists_fetches_and_writes_cards(folder, capsys):
    (folder / "w.h5").write_bytes(CONTENT)
    register(folder, sha256=SHA256, description="the best")
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("w ") and main(["w"]) == 0
    assert f"SHA-256 {SHA256}" in capsys.readouterr().out
    assert main(["--write-cards", "--folder", str(folder)]) == 0
    assert (folder / "w.md").read_text().startswith("# w\n\nthe best\n")
    assert main(["nothing"]) == 2
    assert "unknown weights 'nothing'" in capsys.readouterr().err
    with pytest.raises(InputNotFoundError, match="no such registry. Check --folder"):
        write_cards(folder / "none")
