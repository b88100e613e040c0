"""Preconditions, notice and consent of a release: from its manifest to the report."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import clock
from canota.cli.exits import Exit
from cloud.app import CloudOptions, CloudThread
from firmware import image_path
from protocols.fleet.v1 import campaigns_pb2, releases_pb2, releases_pb2_grpc
from tests.integration.test_cli_cloud import VIN as REGISTERED
from tests.integration.test_cli_cloud import identities
from tests.support.cli import Ended, canota
from tests.support.gateway_fleet import Fleet, car, cloud_in
from vehicle_gateway.app import Gateway
from vehicle_gateway.driver import give_answer, open_question
from vehicle_gateway.update.consent import Choice
from vehicle_gateway.update.coordinator import Outcome

NOTICE = """
[notice]
purpose = "Better cooling"
changes = "The cabin cools sooner"
expected_time = "2 minutes"
functions_lost = "No climate control meanwhile"
instructions = "Stay parked"
"""
PARKED = "Speed == 0 km/h and Gear == P"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = CloudOptions(state_directory=tmp_path_factory.mktemp("cloud"))
    with CloudThread(options) as cloud:
        yield cloud.target


def manifest(folder: Path, terms: str) -> str:
    path = folder / "release.toml"
    image = f'\n[[images]]\nhardware_id = "CCU-2"\nfile = "{image_path("ccu", "2.0.0")}"\n'
    path.write_text(terms + image)
    return str(path)


def publish(target: str, release: str, *arguments: str) -> Ended:
    return canota(
        *("release", "publish", release, *arguments, "--version", "2.0.0", "--cloud", target)
    )


def test_a_release_is_published_with_its_terms_and_shows_them(target: str, tmp_path: Path) -> None:
    terms = f'preconditions = "{PARKED}"\nconsent = "required"\nwait_s = 7200\n{NOTICE}'
    made = publish(target, "terms", manifest(tmp_path, terms), "--json")
    assert made.code == Exit.OK, made.err
    assert made.json["preconditions"] == PARKED
    assert made.json["consent_required"] is True
    assert made.json["notice"]["functions_lost"] == "No climate control meanwhile"
    assert made.json["wait"] == 7200.0
    shown = canota("release", "inspect", "terms", "--cloud", target).out
    assert "Speed == 0 km/h and Gear == P" in shown
    assert "the driver is asked" in shown
    assert "up to 2 h" in shown
    assert "Better cooling" in shown
    again = publish(target, "terms", manifest(tmp_path, terms))
    assert again.code == Exit.OK
    other = publish(target, "terms", manifest(tmp_path, terms.replace("7200", "7201")))
    assert other.code == Exit.REFUSED
    assert "other content" in other.err


def test_a_dry_run_says_what_a_vehicle_will_wait_for(target: str, tmp_path: Path) -> None:
    at = ("--cloud", target)
    assert canota("vehicle", "register", REGISTERED, "-", *at, stdin=identities()).code == Exit.OK
    terms = f'preconditions = "{PARKED}"\nconsent = "required"\n{NOTICE}'
    assert publish(target, "dry", manifest(tmp_path, terms)).code == Exit.OK
    campaign = ("campaign", "create", "dry-1", REGISTERED, "--release", "dry")
    assert canota(*campaign, "--cloud", target).code == Exit.OK
    verdicts = canota("campaign", "dry-run", "dry-1", "--cloud", target, "--json").json
    assert verdicts[0]["preconditions"] == PARKED
    assert verdicts[0]["consent_required"] is True
    shown = canota("campaign", "dry-run", "dry-1", "--cloud", target).out
    assert f"waits for: {PARKED}" in shown
    assert "waits for: the driver's consent" in shown


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ('preconditions = "Speed = 0"', "preconditions: character 7: '=' has no meaning here"),
        ('preconditions = "Sped == 0"', "header.preconditions: character 1: no signal 'Sped'"),
        ('preconditions = "Gear == X"', "character 1: Gear has no value 'X'; known:"),
        ('preconditions = "Speed < 3 mph"', "character 1: Speed is in km/h, not in mph"),
        ("preconditions = 3", "preconditions: text expected"),
        ('consent = "required"', "notice: a driver who is asked has to be told what for"),
        ('consent = "maybe"', "consent: 'required' or 'not required' expected"),
        ("wait_s = 1", "wait_s: 60 to 7.776e+06 seconds expected"),
        ("notice = 3", "notice: a table expected"),
        (NOTICE.replace("Stay parked", " "), "notice.instructions: text expected"),
        (NOTICE + 'more = "words"', "notice: unknown field 'more'"),
        ('precondition = "Gear == P"', "unknown key 'precondition'; known: consent"),
    ],
)
def test_a_mistake_in_the_terms_is_told_with_its_field_and_nothing_is_published(
    target: str, tmp_path: Path, terms: str, said: str
) -> None:
    ended = publish(target, "wrong", manifest(tmp_path, terms))
    assert ended.code == Exit.REFUSED
    assert said in " ".join(ended.err.split())
    assert canota("release", "inspect", "wrong", "--cloud", target).code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"preconditions": "Speed =="}, "header.preconditions"),
        ({"consent_required": True}, "header.notice"),
    ],
)
def test_the_cloud_itself_refuses_terms_that_cannot_be_kept(
    tmp_path: Path, header: dict[str, object], said: str
) -> None:
    with cloud_in(tmp_path) as cloud:
        fleet = Fleet(cloud, None, tmp_path, ())  # type: ignore[arg-type]  # no car is needed
        whole = releases_pb2.CreateReleaseRequest.Header(
            release_id="wrong",
            version="1",
            **header,  # type: ignore[arg-type]  # of its fields
        )
        stub = releases_pb2_grpc.ReleaseServiceStub(fleet.channel)
        with pytest.raises(Exception, match=said):
            stub.CreateRelease(iter([releases_pb2.CreateReleaseRequest(header=whole)]))
        fleet.channel.close()


def test_an_answer_on_the_command_line_needs_a_question(tmp_path: Path) -> None:
    nothing = canota("vehicle", "consent", "--state", str(tmp_path), "--accept")
    assert nothing.code == Exit.NOT_FOUND
    both = canota("vehicle", "consent", "--state", str(tmp_path), "--accept", "--deny")
    assert both.code == Exit.USAGE


Driver = Callable[[Path], None]


def accepts(state: Path) -> None:
    shown = canota("vehicle", "consent", "--state", str(state))
    assert "Better cooling" in shown.out
    assert "Gear == P" in shown.out
    assert canota("vehicle", "consent", "--state", str(state), "--accept").code == Exit.OK


def denies(state: Path) -> None:
    question = open_question(state)
    assert question is not None
    give_answer(state, question, Choice.DENIED)


async def _asked(state: Path, driver: Driver) -> None:
    while open_question(state) is None:  # noqa: ASYNC110 a file
        await asyncio.sleep(1.0)
    await asyncio.sleep(30.0)
    driver(state)


def _run(tmp_path: Path, driver: Driver) -> tuple[Outcome | None, dict[str, object]]:
    async def walk() -> tuple[Outcome | None, dict[str, object]]:
        with cloud_in(tmp_path) as cloud:
            async with car(tmp_path, ("ccu",), cloud) as fleet:
                fleet.register()
                fleet.publish("1.0.0")
                terms = f'preconditions = "{PARKED}"\nconsent = "required"\n{NOTICE}'
                made = publish(cloud.target, "asked", manifest(tmp_path, terms))
                assert made.code == Exit.OK, made.err
                async with Gateway(fleet.options(), fleet.links()) as gateway:
                    await asyncio.sleep(5)
                    assert await gateway.run_once() is None
                    campaign = fleet.start_campaign("asked")
                    seat = asyncio.create_task(_asked(tmp_path / "gateway", driver))
                    ended = await gateway.run_once()
                    await seat
                    if ended is Outcome.REFUSED:
                        again = fleet.start_campaign("asked")
                        assert await gateway.run_once() is Outcome.REFUSED
                        assert "denied before" in fleet.assignment(again).reason
                name = campaign.removeprefix("campaigns/")
                report = tmp_path / "report.json"
                exported = canota(
                    *("report", "export", name, "--cloud", cloud.target),
                    *("--format", "json", "--output", str(report)),
                )
                assert exported.code == Exit.OK, exported.err
                page = tmp_path / "report.html"
                canota(
                    *("report", "export", name, "--cloud", cloud.target),
                    *("--format", "html", "--output", str(page)),
                )
                assert "Preconditions and consent" in page.read_text()
                outcome = fleet.assignment(campaign).outcome
                wanted = {
                    Outcome.UPDATED: campaigns_pb2.OUTCOME_UPDATED,
                    Outcome.REFUSED: campaigns_pb2.OUTCOME_REFUSED,
                }
                assert ended is not None
                assert outcome == wanted[ended]
                return ended, json.loads(report.read_text())["vehicles"][0]

    return clock.run(walk(), virtual=True)


def test_a_driver_accepts_and_the_report_keeps_what_was_said_and_measured(tmp_path: Path) -> None:
    ended, vehicle = _run(tmp_path, accepts)
    assert ended is Outcome.UPDATED
    consents = vehicle["consents"]
    assert isinstance(consents, list)
    assert [one["answer"] for one in consents] == ["accepted"]
    assert consents[0]["notice"]["changes"] == "The cabin cools sooner"
    assert len(consents[0]["release_sha256"]) == 64
    conditions = vehicle["conditions"]
    assert isinstance(conditions, list)
    begun = {one["condition"]: one for one in conditions if one["occasion"] == "cleared"}
    assert set(begun) == {"Speed == 0 km/h", "Gear == P", "DriveInhibited == Yes"}
    speed = begun["Speed == 0 km/h"]
    assert (speed["value"], speed["verdict"]) == ("0 km/h", "met")
    assert (speed["message"], speed["source"]) == ("VEH_Motion", "comfort")
    assert speed["value_time"] <= speed["time"]


def test_a_driver_denies_and_is_not_asked_about_this_release_again(tmp_path: Path) -> None:
    ended, vehicle = _run(tmp_path, denies)
    assert ended is Outcome.REFUSED
    assert vehicle["outcome"] == "refused"
    assert vehicle["reason"] == "consent: denied by the driver"
    consents = vehicle["consents"]
    assert isinstance(consents, list)
    assert [one["answer"] for one in consents] == ["denied"]
