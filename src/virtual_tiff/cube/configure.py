"""The configuration that is persisted with a repository: containers, and how manifests are split.

It is one object that the last writer wins, beside the commits. So it only ever grows, and a writer looks again
after its commit whether what its references need is still there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import icechunk
from icechunk import ManifestConfig, ManifestSplitCondition, ManifestSplitDimCondition, ManifestSplittingConfig

from virtual_tiff.cube.blueprint import GroupPlan
from virtual_tiff.cube.container import Container
from virtual_tiff.cube.patient import insist, next_pause, opened, pauses
from virtual_tiff.cube.write import joined, split_sizes
from virtual_tiff.errors import TargetError

_TRIES = 20


def new_config(groups: Sequence[GroupPlan], containers: Sequence[Container]) -> icechunk.RepositoryConfig:
    """The configuration of a new repository."""
    config = icechunk.RepositoryConfig.default()
    _extend(config, groups, containers)
    return config


def configured(
    storage: icechunk.Storage, groups: Sequence[GroupPlan], containers: Sequence[Container]
) -> icechunk.Repository:
    """Open a repository whose persisted configuration holds these containers and these splits.

    Raises
    ------
    TargetError
        ``target-denied`` when other writers overwrite it again and again.
    IcechunkError
        When the storage keeps failing.
    """
    waits = pauses()
    for _ in range(_TRIES):
        repository = opened(storage)
        if not _extend(repository.config, groups, containers):
            return repository
        try:
            # Opened once more, without the time limits of this process: what is saved holds for all.
            repository = insist(partial(icechunk.Repository.open, storage))
            config = repository.config
            _extend(config, groups, containers)
            repository.reopen(config=config).save_config()
        except icechunk.IcechunkError as error:
            # Another writer was faster, or an answer was lost: look again what is there.
            pause = 0.0 if isinstance(error, icechunk.ConflictError) else next_pause(error, waits)
            if pause is None:
                raise
            time.sleep(pause)
    found = "other writers keep changing the configuration of the repository"
    raise TargetError(found, feature="target-denied", hint="Run it again.")


def _extend(config: icechunk.RepositoryConfig, groups: Sequence[GroupPlan], containers: Sequence[Container]) -> bool:
    """Add what is missing, and say whether something was."""
    there = config.virtual_chunk_containers or {}
    lacking = [one for one in containers if one.prefix not in there]
    for one in lacking:
        config.set_virtual_chunk_container(one.virtual_chunk_container())
    manifest = config.manifest or ManifestConfig()
    old: dict[ManifestSplitCondition, Any] = {} if manifest.splitting is None else manifest.splitting.to_dict()
    new = {condition: sizes for condition, sizes in _splits(groups).items() if condition not in old}
    if new:
        manifest.splitting = ManifestSplittingConfig.from_dict(new | old)
        config.manifest = manifest
    return bool(lacking or new)


def _splits(groups: Sequence[GroupPlan]) -> dict[ManifestSplitCondition, Any]:
    return {
        ManifestSplitCondition.path_matches(f"^/{re.escape(joined(group.path, array.name))}$"): {
            ManifestSplitDimCondition.Axis(axis): size for axis, size in enumerate(split_sizes(array))
        }
        for group in groups
        for array in group.arrays
    }
