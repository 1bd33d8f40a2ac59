"""Objects that are declared once: a TypedDict whose fields say what they are and come from.

From such a shape come the objects (`maker`), the schemas of tools, the models of REST and the
table in the docs. A field is one line: `name: Annotated[type, Field("What it is.")]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of a field besides its name and type."""

    about: str
    """What it is, for the docs."""
    of: str | Callable[[Any, Any], Any] | None = None
    """Where it comes from: an attribute of the record (None: the one of the same name), or a
    function of the record and of what else is known at the moment."""
    told: bool = False
    """Whether schemas carry `about` too, since the name does not say it."""
    default: Any = None
    """What it means when it is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A field of a shape."""

    name: str
    type: Any
    required: bool
    """Whether it is there whenever the shape is shown."""
    field: Field

    @property
    def description(self) -> str | None:
        """What schemas say of it."""
        return self.field.about if self.field.told else None


def declared(shape: type[Any]) -> list[Declared]:
    """Return the fields of a shape in their order."""
    required: frozenset[str] = shape.__required_keys__
    found = []
    for name, hint in get_type_hints(shape, include_extras=True).items():
        kind, field = get_args(hint)
        found.append(Declared(name=name, type=kind, required=name in required, field=field))
    return found


def maker(shape: type[Any]) -> Callable[[Any, Any], dict[str, Any]]:
    """Return what makes the object of a record and of what else is known at the moment."""
    sources = {each.name: each.field.of or each.name for each in declared(shape)}
    same = {name: of for name, of in sources.items() if isinstance(of, str)}
    computed = [(name, of) for name, of in sources.items() if not isinstance(of, str)]
    names, values = tuple(same), _all_of(tuple(same.values()))
    blank = dict.fromkeys(sources)

    def make(record: Any, known: Any) -> dict[str, Any]:
        # All attributes in one call, as lists are made of hundreds of records.
        made: dict[str, Any] = blank.copy()
        made.update(zip(names, values(record), strict=True))
        for name, of in computed:
            made[name] = of(record, known)
        return made

    return make


def _all_of(attributes: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads these attributes."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    # For fewer it returns no tuple.
    return lambda record: tuple(getattr(record, each) for each in attributes)
