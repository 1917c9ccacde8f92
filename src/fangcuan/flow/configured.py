"""Sources of an installation: folders of pipelines/ (shipped and overlays) that its settings name, and world folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fangcuan.content.problem import ContentError, Problem, refuse
from fangcuan.content.roots import files
from fangcuan.core.masters import DECIDED
from fangcuan.flow.installation import Installation
from fangcuan.ingest import connectors
from fangcuan.ingest.source import RELATIONS, ConnectorSpec, FeedSpec, SourceSpec, Title, load_source

#: Sources whose id starts with this are the files of a world folder.
WORLD = "world_"


def source_folders() -> dict[str, Path]:
    """Folder of every source there is, by id."""
    return {path.parent.name: path.parent for _, path in files("pipelines", "*/source.yml")}


def sources(installation: Installation) -> dict[str, SourceSpec]:
    """Sources the settings name, master data first. Raises ContentError with every problem of every source."""
    folders = source_folders()
    problems: list[Problem] = []
    found: dict[str, SourceSpec] = {}
    for source_id in installation.settings.sources:
        if source_id not in folders:
            known = ", ".join(sorted(folders)) or "none"
            path = installation.settings.config_path or Path("fangcuan.toml")
            problems.append(
                Problem(path, 1, f"sources: no source {source_id!r}; expected one of {known}; correct the name")
            )
            continue
        try:
            found[source_id] = load_source(folders[source_id])
        except ContentError as error:
            problems.extend(error.problems)
    refuse(problems)
    return dict(sorted(found.items(), key=lambda item: (*_turn(item[1]), item[0])))


def source_ids(installation: Installation, schedule: str) -> list[str]:
    """Ids of one schedule group in the order they are pulled; every source belongs to the nightly group as well."""
    return [key for key, spec in sources(installation).items() if schedule == "nightly" or spec.schedule == schedule]


def _turn(spec: SourceSpec) -> tuple[bool, int]:
    """Master data before events, and what others refer to before what refers to it."""
    fed = [feed.relation for feed in spec.feeds]
    turns = [_MASTER_ORDER.index(name) if name in _MASTER_ORDER else len(_MASTER_ORDER) for name in fed]
    return any(RELATIONS[name].kind == "event" for name in fed), max(turns)


def configured_relations(installation: Installation) -> dict[str, list[str]]:
    """Relations each configured source feeds: what a night should have seen."""
    return {key: [feed.relation for feed in spec.feeds] for key, spec in sources(installation).items()}


def world_sources(world: Path) -> list[SourceSpec]:
    """The files of a world folder as sources, one per relation, master data first, in an order that references allow.

    Raises ContentError naming a folder or file that is no relation of the contract.
    """
    problems: list[Problem] = []
    found: list[SourceSpec] = []
    feeds, master = world / "feeds", world / "master"
    if not feeds.is_dir() and not master.is_dir():
        raise ContentError(
            [Problem(world, 1, "neither feeds/ nor master/; expected a world folder; see docs/worlds.md")]
        )
    for path in sorted(master.iterdir()) if master.is_dir() else ():
        relation = path.name.split(".", 1)[0]
        if _known(path, relation, "master", problems):
            found.append(_world_source(relation, {"path": str(path), "arrival": "night"}))
    for path in sorted(feeds.iterdir()) if feeds.is_dir() else ():
        if _known(path, path.name, "event", problems):
            found.append(_world_source(path.name, {"path": str(path / "{night:%Y-%m-%d}*"), "arrival": "from_name"}))
    refuse(problems)
    order = list(_MASTER_ORDER)
    return sorted(
        found, key=lambda spec: order.index(spec.feeds[0].relation) if spec.feeds[0].relation in order else 99
    )


#: Regions before partners before what refers to both.
_MASTER_ORDER = ("regions", "region_neighbours", "products", "partners", "partner_aliases", "territories")


def _known(path: Path, relation: str, kind: str, problems: list[Problem]) -> bool:
    if path.name.startswith("."):
        return False
    if relation in DECIDED:
        message = (
            f"{relation} is approved, not loaded; `fangcuan policies propose {relation} {path.name}`, and move it away"
        )
        problems.append(Problem(path, 1, message))
        return False
    if relation in RELATIONS and RELATIONS[relation].kind == kind:
        return True
    expected = ", ".join(name for name, item in RELATIONS.items() if item.kind == kind)
    problems.append(
        Problem(path, 1, f"{relation!r} is no {kind} relation; expected one of {expected}; rename or move it")
    )
    return False


def _world_source(relation: str, options: dict[str, Any]) -> SourceSpec:
    model = connectors.get("files").Options
    return SourceSpec(
        id=f"{WORLD}{relation}",
        title=Title(en=f"World folder: {relation}", zh=f"世界文件夹：{relation}"),
        owner="world",
        connector=ConnectorSpec(kind="files", options=model.model_validate(options)),
        feeds=(FeedSpec(relation=relation, identity=True),),
    )
