"""The systemd unit of an installation, for what this program needs and may go without.

What is missing here is missing because sandboxes need it: their user namespaces mount a fresh ``/proc``, which the
kernel allows only where no part of ours is covered (so no ``ProtectKernelTunables``, ``ProtectKernelLogs``,
``ProtectProc``), set a host name (no ``ProtectHostname``) and make namespaces (no ``RestrictNamespaces``).
"""

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final, Literal

from raworc.errors import BadRequest

Kind = Literal["up", "server", "operator", "recorder"]

SETTINGS_FILE: Final = "/etc/raworc/raworc.env"
_STATE: Final = Path("/var/lib")
_UNIT: Final = Template("""\
[Unit]
Description=Raworc ($kind): runs AI agents in sandboxes and accounts for their model calls
Wants=network-online.target
After=network-online.target postgresql.service

[Service]
Type=notify
NotifyAccess=main
ExecStart=$command
# Settings, one RAWORC_NAME=value a line; keep it readable for root alone.
EnvironmentFile=-$settings_file
${user}Restart=always
RestartSec=2
TimeoutStartSec=180
WatchdogSec=60
# SIGTERM to the main process, which drains (RAWORC_DRAIN_TIMEOUT_S, 30 s) and stops the others in order.
KillMode=mixed
TimeoutStopSec=120
# A sandbox that runs out of memory ends alone.
OOMPolicy=continue
# Sandboxes get control groups of their own below ours (DelegateSubgroup: systemd 254 and newer).
Delegate=yes
DelegateSubgroup=main
TasksMax=infinity
LimitNOFILE=524288
${state}NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=true
ProtectKernelModules=yes
LockPersonality=yes
RestrictRealtime=yes

[Install]
WantedBy=multi-user.target
""")


@dataclass(frozen=True)
class Wish:
    """Which processes, where they are kept, and as whom they run (root where None); ``program`` runs raworc."""

    kind: Kind
    home: Path
    user: str | None
    program: str


def unit(wish: Wish) -> str:
    """The text of ``raworc.service``.

    Raises:
        BadRequest: something in it would not survive systemd's quoting.
    """
    for name, value in (("--home", str(wish.home)), ("--user", wish.user or ""), ("Python", wish.program)):
        if set(value) & set(" \t\n\"'\\%$;"):
            raise BadRequest(f"'{name}': a unit cannot hold '{value}' as it stands: choose one without odd characters")
    return _UNIT.substitute(
        kind=wish.kind,
        command=f"{wish.program} -m raworc {wish.kind} --home {wish.home}",
        settings_file=SETTINGS_FILE,
        user=f"User={wish.user}\n" if wish.user else "",
        state=_state(wish.home),
    )


def _state(home: Path) -> str:
    if home.parent == _STATE:
        return f"StateDirectory={home.name}\nStateDirectoryMode=0755\n"
    return ""
