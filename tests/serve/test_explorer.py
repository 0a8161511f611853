"""The explorer in a real browser: a file is dropped, measurements narrow, fronts are clicked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import latcast
from latcast.families import population
from latcast.serve.settings import add_key

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")
pytestmark = [pytest.mark.slow, pytest.mark.worker]

DEVICE = "raspberry-pi-4"
ACCURACIES = """model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
resnet18.a1_in1k,224,71.5,28.5,90.0,10.0,11.69,0.95,bicubic
resnet50.a1_in1k,224,80.2,19.8,94.6,5.4,25.56,0.95,bicubic
mobilenetv3_large_100.ra_in1k,224,75.8,24.2,92.5,7.5,5.48,0.875,bicubic
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eleven small networks: one to forecast, ten that were measured."""
    folder = tmp_path_factory.mktemp("networks")
    paths = []
    for n, variant in enumerate(population(11, 1, ["squeezenet"])):
        paths.append(folder / f"net{n}.onnx")
        paths[-1].write_bytes(variant.to_onnx())
    return paths


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, networks: list[Path]) -> Iterator[str]:
    """Where ``latcast explore`` serves the first network."""
    folder = tmp_path_factory.mktemp("explore")
    (folder / "results-imagenet.csv").write_text(ACCURACIES)
    command = [sys.executable, "-m", "latcast", "explore", networks[0], "--device", DEVICE,
               "--no-open"]  # fmt: skip
    log = folder / "log"
    with log.open("w") as file:
        environment = {**os.environ, "LATCAST_DATA": str(folder), "TMPDIR": str(folder)}
        process = subprocess.Popen(command, stderr=file, env=environment)
    end = time.monotonic() + 300
    while not (found := re.search(r"explorer is at (http\S+);", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    yield found[1]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    assert not list(folder.glob("latcast-explore-*"))  # its files go with it


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text)
            if message.type == "error" and "422" not in message.text else None)  # fmt: skip
    page.goto(address)
    yield page
    context.close()
    assert not wrong


def test_a_file_is_forecast_as_it_is_asked(
    page: Any, networks: list[Path], accessible: Callable[[Any], None]
) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#bars .row")).to_have_count(1)  # what the command named
    page.set_input_files("#file", networks[1])
    expect(page.locator("#network")).to_contain_text("net1.onnx: ")
    graph = latcast.read_graph(networks[1])
    ms = latcast.forecast(graph, [DEVICE]).devices[0].latency_ms
    expect(page.locator("#answer")).to_contain_text(f"{ms:.3g}"[:3])
    page.fill("#budget", str(100 * ms))
    expect(page.locator("#answer")).to_contain_text("on 1 of 1, with the whole interval on 1.")
    page.fill("#budget", str(1.001 * ms))  # what the interval does not decide is no promise
    expect(page.locator("#answer")).to_contain_text("on 1 of 1, with the whole interval on 0.")
    page.fill("#device", "no-such-device")
    page.keyboard.press("Enter")
    expect(page.locator("#notes")).to_contain_text("no-such-device")
    page.click("text=no-such-device ×")
    expect(page.locator("#notes")).not_to_contain_text("no-such-device")
    page.click("#graph summary")
    # Keys are listened to when the drawing's script has run, which makes boxes buttons.
    page.locator("#graph .net .box[role=button]").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#graph .facts")).to_contain_text("memory traffic")
    with page.expect_download() as download:
        page.click("#page")
    assert download.value.suggested_filename == "net1.html"
    text = Path(download.value.path()).read_text()
    assert "net1.onnx" in text
    assert 'class="drawing"' in text
    assert len(text) < 500_000
    with page.expect_download() as download:
        page.click("#json")
    told = json.loads(Path(download.value.path()).read_text())
    assert told["devices"][0]["latency_ms"] == pytest.approx(ms)
    accessible(page)


def test_a_file_that_is_dropped_and_is_no_network(page: Any) -> None:
    from playwright.sync_api import expect

    drop = """(target) => { const data = new DataTransfer();
        data.items.add(new File(["no network"], "bad.onnx"));
        target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true })); }"""
    page.locator("#drop").evaluate(drop)
    expect(page.locator("#network")).to_have_class("warn")
    expect(page.locator("#answer")).to_contain_text("Choose a model file")


def test_a_network_of_any_length_is_opened_by_its_length(page: Any, tmp_path: Path) -> None:
    from onnx import TensorProto, helper
    from playwright.sync_api import expect

    weights = helper.make_tensor("w", TensorProto.FLOAT, [32, 32], [0.5] * 1024)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, "tokens", 32]) for n in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "open", ends[:1], ends[1:], [weights]
    )
    files = [tmp_path / "open.onnx", tmp_path / "other.onnx"]
    for file in files:
        file.write_bytes(helper.make_model(graph).SerializeToString())
    page.set_input_files("#file", files[0])
    expect(page.locator("#network")).to_contain_text('under "Shapes that it leaves open": x=1x')
    page.fill("#sequence", "64")
    page.press("#sequence", "Tab")
    expect(page.locator("#network")).to_contain_text("open.onnx: 1 layer in 1 kernel, 65.5 k MACs")
    expect(page.locator("#answer")).to_contain_text(" ms on raspberry-pi-4/")
    page.click("#measured-this")
    page.set_input_files("#measured", files[1])
    expect(page.locator("#rows li")).to_have_count(2)
    for n in range(2):
        page.locator("#rows input").nth(n).fill("0.05")
        page.locator("#rows input").nth(n).press("Tab")
    expect(page.locator("#moved")).to_contain_text("With 2 measurements")


def test_the_file_that_is_chosen_last_counts_whichever_answer_comes_first(
    page: Any, networks: list[Path]
) -> None:
    from playwright.sync_api import Error, expect

    held: list[Any] = []
    ended: list[Any] = []

    def end(request: Any) -> None:
        ended.append(request)

    for how in ("requestfinished", "requestfailed"):
        page.on(how, end)
    page.route("**/v1/networks", lambda route: route.continue_() if held else held.append(route))
    page.set_input_files("#file", networks[1])
    while not held:
        page.wait_for_timeout(20)
    page.set_input_files("#file", networks[2])
    expect(page.locator("#network")).to_contain_text("net2.onnx: ")
    with suppress(Error):  # it may have been given up
        held[0].continue_()
    while held[0].request not in ended:
        page.wait_for_timeout(20)
    page.wait_for_timeout(200)
    expect(page.locator("#network")).to_contain_text("net2.onnx: ")
    ms = latcast.forecast(latcast.read_graph(networks[2]), [DEVICE]).devices[0].latency_ms
    expect(page.locator("#answer")).to_contain_text(f"{ms:.3g}"[:3])


def test_a_late_choice_and_late_suggestions_are_left_out(page: Any, networks: list[Path]) -> None:
    """What was asked before the budget, or the network, became another one."""
    from playwright.sync_api import expect

    held: dict[str, Any] = {}

    def hold(route: Any) -> None:
        path = route.request.url.rpartition("/")[2]
        route.continue_() if path in held else held.update({path: route})

    def until(path: str) -> None:
        while path not in held:
            page.wait_for_timeout(20)

    page.route(re.compile("/v1/(choose|suggest)$"), hold)
    page.fill("#budget", "500")
    page.click("#choose")
    until("choose")
    page.fill("#budget", "600")
    page.click("#choose")
    expect(page.locator("#choice")).to_contain_text("within 600 ms")
    page.click("#suggest")
    until("suggest")
    page.set_input_files("#file", networks[3])
    expect(page.locator("#network")).to_contain_text("net3.onnx: ")
    for path, route in held.items():
        with page.expect_response(f"**/v1/{path}"):
            route.continue_()
    page.wait_for_timeout(200)
    expect(page.locator("#choice")).to_contain_text("within 600 ms")
    expect(page.locator("#suggested")).to_be_empty()


def test_everything_is_reached_by_the_tab_key_and_shows_it(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#bars .row")).to_have_count(1)
    enabled = "input, select, button, a[href], summary"
    wanted = page.eval_on_selector_all(
        enabled, "all => all.filter((x) => !x.disabled && x.checkVisibility()).length"
    )
    told = """() => { const at = document.activeElement, style = getComputedStyle(at);
        const named = at.labels?.[0]?.innerText || at.getAttribute("aria-label") || at.innerText;
        return at === document.body ? null
            : [at.id || at.className || at.innerText, named, style.outlineStyle !== "none"]; }"""
    reached = []
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        if (found := page.evaluate(told)) is None:
            break
        reached.append(found)
    assert len(reached) == wanted, reached
    assert reached[0][0] == "skip"
    assert all(name and name.strip() for _, name, _ in reached), reached
    assert all(outlined for *_, outlined in reached), reached
    order = [who for who, *_ in reached]
    places = [order.index(x) for x in ("file", "device", "budget", "measured-on", "choose-on")]
    assert places == sorted(places)


def test_who_removes_something_by_keys_stays_there(page: Any, networks: list[Path]) -> None:
    from playwright.sync_api import expect

    at = "document.activeElement.ariaLabel || document.activeElement.id"
    page.fill("#device", "rtx-4090")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen button")).to_have_count(2)
    page.locator("#chosen button").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(at) == "remove rtx-4090"
    page.keyboard.press("Enter")
    assert page.evaluate(at) == "device"
    page.set_input_files("#measured", networks[1:3])
    expect(page.locator("#rows li")).to_have_count(2)
    page.locator("#rows button").last.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(at) == f"remove {networks[1].name}"
    page.keyboard.press("Enter")
    assert page.evaluate(at) == "measured"


def test_what_a_field_suggests_is_read_as_well_as_other_text(page: Any) -> None:
    told = """() => [getComputedStyle(document.querySelector("#runtime"), "::placeholder").color,
        getComputedStyle(document.querySelector(".soft")).color]"""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        hint, soft = page.evaluate(told)
        assert hint == soft


def test_ten_measurements_narrow_the_interval(page: Any, networks: list[Path]) -> None:
    """Measurements that are all 1.4 times what is forecast move it there, and make it surer."""
    from playwright.sync_api import expect

    page.set_input_files("#measured", networks[1:])
    expect(page.locator("#rows li")).to_have_count(10)
    for n, path in enumerate(networks[1:]):
        before = latcast.forecast(latcast.read_graph(path), [DEVICE]).devices[0].latency_ms
        page.locator("#rows input").nth(n).fill(f"{1.4 * before:.4g}")
        page.locator("#rows input").nth(n).press("Tab")
    expect(page.locator("#moved")).to_contain_text("With 10 measurements")
    expect(page.locator("#bars .row")).to_have_count(2)
    expect(page.locator("#bars")).to_contain_text("with your measurements")
    page.fill("#budget", "100000")
    expect(page.locator("#answer")).to_contain_text("on 1 of 1")  # one target, measured or not
    told = page.inner_text("#moved")
    assert float(re.search(r"([\d.]+) times as wide", told)[1]) < 0.9
    before = latcast.forecast(latcast.read_graph(networks[0]), [DEVICE]).devices[0].latency_ms
    now = float(re.search(r": ([\d.]+) ms", told)[1])
    assert 1.15 * before < now < 1.6 * before
    with page.expect_request("**/v1/suggest") as asked:
        page.click("#suggest")
    expect(page.locator("#suggested .row").first).to_be_visible()
    expect(page.locator("#suggested")).to_contain_text("after your 10 measurements")
    ten = asked.value.post_data_json["model"]
    # Suggestions follow the measurements, as the forecast does.
    with page.expect_request("**/v1/suggest") as asked:
        page.locator("#rows button").first.click()
    expect(page.locator("#moved")).to_contain_text("With 9 measurements")
    expect(page.locator("#suggested")).to_contain_text("after your 9 measurements")
    assert asked.value.post_data_json["model"] != ten
    nine = re.search(r": ([\d.]+ ms)", page.inner_text("#moved"))
    assert nine[1] in page.locator("#suggested .row").first.inner_text()
    page.fill("#threads", "2")
    with page.expect_response("**/v1/adapt"):
        page.press("#threads", "Tab")
    expect(page.locator("#suggested")).to_be_empty()
    with page.expect_response("**/v1/suggest") as found:
        page.click("#suggest")
    assert found.value.ok


def test_measurements_that_contradict_each_other_are_told(
    page: Any, networks: list[Path], accessible: Callable[[Any], None]
) -> None:
    from playwright.sync_api import expect

    page.set_input_files("#measured", networks[1:4])
    expect(page.locator("#rows li")).to_have_count(3)
    for n, (path, times) in enumerate(zip(networks[1:4], (1.0, 30.0, 1.1), strict=True)):
        ms = latcast.forecast(latcast.read_graph(path), [DEVICE]).devices[0].latency_ms
        page.locator("#rows input").nth(n).fill(f"{times * ms:.4g}")
        page.locator("#rows input").nth(n).press("Tab")
        expect(page.locator("#rows li").nth(n)).to_contain_text(
            re.compile(r"\(forecast: [\d.]+ ms\)")
        )
    expect(page.locator("#moved")).to_contain_text("With 3 measurements")
    told = page.inner_text("#moved")
    assert float(re.search(r"([\d.]+) times as wide", told)[1]) > 1
    assert "they took 1 to 30 times what is forecast" in told
    assert f"of {networks[2].name} first" in told
    accessible(page)
    page.locator("#rows input").nth(1).fill("")
    page.locator("#rows input").nth(1).press("Tab")
    expect(page.locator("#moved")).to_contain_text("With 2 measurements")
    assert "what is forecast" not in page.inner_text("#moved")


def test_without_a_forecast_nothing_of_an_earlier_one_is_shown(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#bars .row")).to_have_count(1)
    expect(page.locator("#notes li").first).to_be_visible()
    page.fill("#runtime", "no-such-runtime")
    expect(page.locator("#answer")).to_contain_text("no-such-runtime")
    for each in ("#notes", "#graph"):
        expect(page.locator(each)).to_be_hidden()
    for each in ("#page", "#json"):
        expect(page.locator(each)).to_be_disabled()
    page.fill("#runtime", "")
    expect(page.locator("#json")).to_be_enabled()
    page.click(f"text={DEVICE} ×")
    expect(page.locator("#answer")).to_have_text("Choose a device.")
    expect(page.locator("#notes")).to_be_hidden()


def test_fronts_are_clicked_through(page: Any, accessible: Callable[[Any], None]) -> None:
    from playwright.sync_api import expect

    page.click("#choose")
    expect(page.locator("#choice")).to_contain_text("budget")
    page.fill("#budget", "500")
    page.click("#choose")
    page.locator("#choice-front .dot").first.click()
    expect(page.locator("#choice-facts")).to_contain_text("P(within budget)")
    before = page.inner_text("#choice-facts")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#choice-facts") != before
    page.select_option("#space", "nasbench201")
    page.click("#search")
    expect(page.locator("#searching")).to_contain_text("no accuracy model is shipped")
    page.select_option("#space", "ofa-mobilenet-v3")
    page.fill("#evaluations", "200")
    page.click("#search")
    page.locator("#search-front .dot").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#search-facts pre")).to_contain_text('"ks"')
    page.click("text=Forecast on all chosen devices")
    expect(page.locator("#search-facts .row")).to_have_count(1)
    accessible(page)


def test_a_key_is_asked_for_and_remembered_nowhere(
    browser: Any, serve: Any, tmp_path: Path, accessible: Callable[[Any], None]
) -> None:
    from playwright.sync_api import expect

    key = add_key(tmp_path / "keys", "me")
    own = serve(tmp_path / "state", "--workers", 1, "--keys", tmp_path / "keys")
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{own.url}/?device={DEVICE}")
    expect(page.locator("#answer")).to_contain_text("a key of this service must be sent")
    accessible(page)
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    expect(page.locator("#answer")).to_contain_text("a key of this service must be sent")
    page.fill("#key", key)
    page.press("#key", "Enter")
    expect(page.locator("#chosen button")).to_have_count(1)
    expect(page.locator("#locked")).to_be_hidden()
    expect(page.locator("#answer")).to_have_text("Choose a model file.")
    expect(page.locator("#answer")).not_to_have_class(re.compile("warn"))
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert key not in page.url
    page.close()


def test_the_explorer_is_in_the_wheel_and_loads_nothing_from_elsewhere(address: str) -> None:
    folder = Path(latcast.__file__).parent / "serve" / "explorer"
    base = address.partition("?")[0]
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href|url|import|fetch)\W{1,3}https?:", text), path
        with urlopen(f"{base}{path.name}") as answer:
            assert answer.read().decode() == text
    with urlopen(base) as answer:
        assert "default-src 'none'" in answer.read().decode()
