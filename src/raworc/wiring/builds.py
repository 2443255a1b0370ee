"""What an operator builds code agents with."""

from dataclasses import dataclass

import structlog

from raworc.domain.egress import has_credentials, reach_of
from raworc.errors import BadRequest
from raworc.operator.building import BuildRules
from raworc.operator.builds import Builder
from raworc.sandbox.bubblewrap import Places
from raworc.sandbox.driver import Limits
from raworc.sandbox.spawner import Spawner
from raworc.sandbox.workbench import Workbench
from raworc.services.build_work import BuildWork
from raworc.services.storage import Storage
from raworc.services.workers import Worker, has_ended
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.notify import Listener

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Around:
    """What an operator has already: its spawner, the key of its doors, what it hears and what it writes to."""

    spawner: Spawner
    door_key: bytes
    listener: Listener
    db: Database


def builder_of(settings: Settings, worker: Worker, around: Around) -> Builder:
    """Who builds beside an operator."""
    work = BuildWork(around.db, worker.id, settings.node, lambda other: has_ended(settings.run_dir, other))
    bench = Workbench(Places.of(settings), around.spawner, around.door_key, settings.builds_dir)
    return Builder(work, bench, build_rules(settings), around.listener, storage=Storage.of(settings))


def build_rules(settings: Settings) -> BuildRules:
    """How code agents are built in an installation.

    Raises:
        BadRequest: a setting that cannot be read, or a git server's address with a password: builds would see it.
    """
    if has_credentials(settings.git_base):
        raise BadRequest("'RAWORC_GIT_BASE' must hold no user and no password: strangers' builds would see it")
    given = {"PIP_INDEX_URL": settings.pip_index_url, "NPM_CONFIG_REGISTRY": settings.npm_registry}
    env = {name: url for name, url in given.items() if url is not None}
    for name in [name for name, url in env.items() if has_credentials(url)]:
        log.warning("not passed on to builds, as it holds a password", setting=name)
        del env[name]
    urls = [*env.values(), *([] if settings.git_base.startswith("file:") else [settings.git_base])]
    return BuildRules(
        git_base=settings.git_base,
        files=settings.files_allowed,
        clone_timeout_s=settings.clone_timeout_s,
        timeout_s=settings.build_timeout_s,
        limits=Limits(memory_mb=settings.build_memory_mb, disk_mb=settings.build_disk_mb),
        reach=reach_of(settings.build_hosts, urls),
        env=env,
    )
