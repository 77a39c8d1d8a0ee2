"""The studio and the study in a real headless Chromium, on the miniature. `docs/studio.md` says how to run these."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from study_run import make_run

from tools.browser import axe, browser, missing, served

pytestmark = [pytest.mark.browser, pytest.mark.miniature, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
PROMPT = "a red apple and a green car"
PATIENCE = 90_000  # milliseconds: the machine may be busy


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served("studio", "--outdir", str(tmp_path_factory.mktemp("gallery"))) as found:
        yield found


@pytest.fixture
def opened(chromium, address):
    """Opens the studio as another user each time; no page may say anything on its console by its end."""
    said = []
    with contextlib.ExitStack() as stack:

        def hear(message):
            # What the server refuses is on the console whatever a page does.
            if message.type in ("error", "warning") and "status of 400" not in message.text:
                said.append(message.text)

        def open_page(width=1400, scheme="light", url=address, ready="html[data-ready]"):
            size = {"width": width, "height": 900}
            context = chromium.new_context(viewport=size, color_scheme=scheme)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("console", hear)
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(url)
            page.wait_for_selector(ready, state="attached")
            return page

        yield open_page
    assert said == []


def generate(page, **fields):
    if "steps" in fields:
        page.click("#numbers > summary")
    for name, value in fields.items():
        page.fill(f"#{name}", str(value))
    page.click("#generate")


def done(page):
    page.wait_for_selector("#status:has-text('Done')")
    page.wait_for_selector("#before:not([hidden])")


def test_type_correct_run_watch_compare_reload_and_restore(opened, address, tmp_path):
    page = opened()
    page.fill("#prompt", PROMPT)
    page.wait_for_selector("#drawn:has-text('apple | car')")
    # The graph by hand: the car is said to be a part of the apple, so that the two are no longer kept apart.
    page.click("#correct > summary")
    page.get_by_label('What "car" is').select_option("part:0")
    page.wait_for_selector("#drawn:has-text('nothing')")
    generate(page, seed=11, steps=30)
    first = page.wait_for_selector("#after[src^='data:']").get_attribute("src")
    page.wait_for_selector("#wordmaps label:has-text('apple')")
    page.wait_for_selector(f"#after[src^='data:']:not([src='{first}'])")
    assert "Reward" in page.get_attribute("#chart-reward", "aria-label")
    done(page)
    # The slider is a plain range that the keyboard moves.
    page.focus("#slider")
    page.keyboard.press("End")
    assert page.get_attribute("#before", "style").startswith("clip-path: inset(0px 0%")
    assert PROMPT in page.get_attribute("#after", "alt") and "Unguided" in page.get_attribute("#before", "alt")
    url = page.get_attribute("#download", "href")
    file = tmp_path / "dropped.png"
    file.write_bytes(page.request.get(address + url).body())
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.input_value("#prompt") == PROMPT and page.input_value("#seed") == "11"
    page.locator("#images button").first.click()
    assert page.get_attribute("#after", "src") == url
    # An image dropped in brings back its settings, in another browser too; the part of the apple with them.
    other = opened()
    other.set_input_files("#file", str(file))
    other.wait_for_selector("#say:has-text('Settings restored')")
    assert other.input_value("#prompt") == PROMPT and other.input_value("#steps") == "30"
    assert other.input_value("#seed") == "11" and "nothing" in other.text_content("#drawn")


def test_a_stop_keeps_what_there_is(opened):
    page = opened()
    generate(page, prompt=PROMPT, count=4, seed=1, steps=200)
    page.wait_for_selector("#after[src^='data:']")
    page.keyboard.press("Escape")
    page.wait_for_selector("#status:has-text('Stopped')")
    page.wait_for_selector("#facts:has-text('stopped after')")
    assert page.is_enabled("#generate") and page.locator("#seeds button").count() == 1


def test_two_browsers_at_once_the_second_waits_and_a_reload_loses_no_run(opened):
    one, other = opened(), opened()
    generate(one, prompt=PROMPT, seed=2, steps=60)
    one.wait_for_selector("#after[src^='data:']")
    generate(other, prompt="a blue tree next to a green key", seed=3)
    other.wait_for_selector("#status:has-text('Waiting: 1 run before this one')")
    other.reload()
    # The run of another browser is not this one's.
    third = opened()
    assert third.text_content("#status") == "Ready." and third.is_hidden("#stop")
    done(one)
    done(other)
    assert "a blue tree" in other.get_attribute("#after", "alt")
    one.reload()
    done(one)
    assert PROMPT in one.get_attribute("#after", "alt")


def test_an_image_is_looked_at_while_the_next_one_forms_and_the_edge_follows_the_pointer(opened):
    page = opened(390)
    generate(page, prompt=PROMPT, count=2, seed=4, steps=12)
    first = page.wait_for_selector("#seeds button[name]:not([name=''])")
    page.wait_for_selector("#status:has-text('Image 2 of 2, seed 5: aligned')")
    assert page.locator("#stop").evaluate("e => e.getBoundingClientRect().bottom <= innerHeight")
    first.click()
    page.wait_for_selector("#before:not([hidden])")
    step = page.text_content("#step")
    page.wait_for_function("step => document.getElementById('step').textContent !== step", arg=step)
    assert "seed 4" in page.get_attribute("#after", "alt") and first.get_attribute("aria-pressed") == "true"
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + 60, steps=3)
    assert page.input_value("#slider") in ("19", "20", "21") and page.is_hidden("#drop")
    page.mouse.up()
    page.click("#seeds button[name='']")
    page.wait_for_selector("#after[alt^='Preview of seed 5']")
    done(page)


def test_what_is_refused_is_said_at_the_button_and_at_its_field(opened):
    page = opened()
    page.click("#numbers > summary")
    page.fill("[data-name=eta_steps]", "-1")
    page.click("#numbers > summary")
    page.click("#generate")
    page.wait_for_selector("#refused:has-text('Eta steps -1')")
    assert page.evaluate("document.activeElement.dataset.name") == "eta_steps" and page.is_hidden("#trouble")
    page.fill("[data-name=eta_steps]", "25")
    page.fill("#seed", "-1")
    page.click("#generate")
    page.wait_for_selector("#refused:has-text('First seed: -1')")
    assert page.evaluate("[...document.querySelectorAll('#ask [aria-invalid=true]')].map((field) => field.id)") == ["seed"]


def test_markup_in_a_prompt_is_text(opened):
    page = opened()
    nasty = "<img src=x onerror=document.title='run'> a red apple"
    page.fill("#prompt", nasty)
    page.wait_for_selector("#trouble:has-text('The miniature does not know')")
    assert page.text_content("#marked") == nasty and page.locator("#marked img").count() == 0
    assert page.title() == "DyMO studio"


@pytest.mark.skipif(axe() is None, reason="there is no axe-core: npm install --no-save axe-core, or set AXE_CORE")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_no_serious_violation_and_nothing_is_cut_off(opened, width, scheme, tmp_path):
    page = opened(width, scheme)
    page.click("#numbers > summary")
    page.click("#correct > summary")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []


@pytest.mark.skipif(axe() is None, reason="there is no axe-core: npm install --no-save axe-core, or set AXE_CORE")
def test_the_study_on_a_phone_with_keys(opened, tmp_path):
    run = make_run(tmp_path / "run", prompts=[PROMPT, "a blue tree next to a green key"])
    with served("study", str(run), "dymo", "plain") as address:
        page = opened(390, "dark", f"{address}/", "main")
        assert violations(page) == []
        page.click("button.main")
        page.wait_for_selector("#progress:has-text('Pair 1 of 7')")
        assert violations(page) == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("figcaption").all_inner_texts() == ["1", "2"]
        for n, key in enumerate("1020120", 1):
            page.wait_for_selector(f"#progress:has-text('Pair {n} of 7')")
            page.keyboard.press(key)
        page.wait_for_selector("h1:has-text('Thank you')")


def violations(page) -> list[str]:
    script = axe()
    assert script is not None
    page.evaluate(Path(script).read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]
