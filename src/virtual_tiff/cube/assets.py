"""Which assets of a STAC item are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Self

from virtual_tiff.cube.inputs import is_tiff_name
from virtual_tiff.errors import UsageError

TIFF_TYPES: Final = frozenset(
    {"image/tiff", "image/geotiff", "image/x.geotiff", "image/vnd.stac.geotiff", "image/tiff-fx"}
)
"""Media types of TIFFs, without their parameters."""

_SHOWN: Final = 40
_HINT: Final = "Choose with names, role:data or type:image/tiff."

type Assets = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetChoice:
    """Which assets are taken; by default all TIFFs with the role "data", or the only TIFF.

    Parameters
    ----------
    names
        Keys of assets, in the order that is wanted; ``*`` and ``?`` are wildcards.
    roles, media_types
        Assets that have one of these; types are compared with the parameters that are named.
    alternate
        Take this entry of an asset's ``alternate`` locations, such as "s3", where there is one.
    missing
        What is done with an item that has no asset of one of the names, or none at all: "error" or "skip".
    """

    names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    alternate: str | None = None
    missing: Literal["error", "skip"] = "error"

    @classmethod
    def parse(cls, texts: Iterable[str], *, missing: Literal["error", "skip"] = "error") -> Self:
        """Read ``B04``, ``role:data``, ``type:image/tiff`` and ``alternate:s3``.

        Raises
        ------
        UsageError
            ``usage`` when one of them is empty.
        """
        found: dict[str, list[str]] = {"name": [], "role": [], "type": [], "alternate": []}
        for text in texts:
            kind, colon, value = text.partition(":")
            if not colon or kind not in found:
                kind, value = "name", text
            if not value.strip():
                raise UsageError(f"{text!r} chooses no asset", feature="usage", hint=_HINT)
            found[kind].append(value.strip())
        return cls(
            names=tuple(found["name"]),
            roles=tuple(found["role"]),
            media_types=tuple(found["type"]),
            alternate=found["alternate"][-1] if found["alternate"] else None,
            missing=missing,
        )

    def choose(self, item_id: str, assets: Assets) -> list[str]:
        """Return the keys of the assets that are taken.

        Raises
        ------
        UsageError
            ``usage``, with the keys of the assets, when none fits, a name is missing, or it is not clear
            which TIFF is meant.
        """
        if self.names:
            return self._named(item_id, assets)
        tiffs = [key for key, asset in assets.items() if is_tiff_asset(asset)]
        if self.roles or self.media_types:
            found = [key for key in tiffs if self._fits(assets[key])]
        else:
            found = [key for key in tiffs if "data" in _roles(assets[key])]
            found = found or (tiffs if len(tiffs) == 1 else [])
        if found or self.missing == "skip":
            return found
        if tiffs and not (self.roles or self.media_types):
            raise _error(item_id, "has several TIFFs and none with the role 'data'", assets)
        raise _error(item_id, "has no TIFF that was asked for", assets)

    def _named(self, item_id: str, assets: Assets) -> list[str]:
        found: dict[str, None] = {}
        for name in self.names:
            keys = [name] if name in assets else [key for key in assets if fnmatchcase(key, name)]
            keys = [key for key in keys if self._fits(assets[key])]
            if not keys and self.missing == "error":
                raise _error(item_id, f"has no asset {name!r} that was asked for", assets)
            found.update(dict.fromkeys(keys))
        for key in found:
            if not is_tiff_asset(assets[key]) and media_type(assets[key]):
                raise _error(item_id, f"has an asset {key!r}, which is no TIFF", assets)
        return list(found)

    def _fits(self, asset: Mapping[str, Any]) -> bool:
        role_fits = not self.roles or bool(set(self.roles) & set(_roles(asset)))
        wanted = [_type_parts(text) for text in self.media_types]
        essence, parameters = _type_parts(media_type(asset))
        return role_fits and (not wanted or any(essence == w[0] and w[1] <= parameters for w in wanted))


def is_tiff_asset(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a TIFF, by its media type, or by its name when it has none."""
    stated = media_type(asset)
    if stated:
        return _type_parts(stated)[0] in TIFF_TYPES
    href = str(asset.get("href", ""))
    return is_tiff_name(href) or is_tiff_name(href.partition("?")[0])


def media_type(asset: Mapping[str, Any]) -> str:
    """The media type of an asset, empty when it has none."""
    stated = asset.get("type")
    return stated if isinstance(stated, str) else ""


def _type_parts(text: str) -> tuple[str, frozenset[str]]:
    essence, *parameters = (part.strip().lower() for part in text.split(";"))
    return essence, frozenset(parameter.replace(" ", "") for parameter in parameters if parameter)


def _roles(asset: Mapping[str, Any]) -> list[str]:
    roles = asset.get("roles")
    return [role for role in roles if isinstance(role, str)] if isinstance(roles, list | tuple) else []


def _error(item_id: str, found: str, assets: Assets) -> UsageError:
    keys = [f"{key!r} ({', '.join([media_type(a) or 'no type', *_roles(a)])})" for key, a in assets.items()]
    shown = "; ".join(keys[:_SHOWN]) + ("; ..." if len(keys) > _SHOWN else "") or "none"
    return UsageError(f"the item {item_id!r} {found}; its assets are: {shown}", feature="usage", hint=_HINT)
