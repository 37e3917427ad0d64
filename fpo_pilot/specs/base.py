"""The base of every spec: frozen, closed, and with small shared types."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

IDENTITY = "identity"
"""Key of the serialisation context in which a spec is written for its hash."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]
Range = tuple[Finite, Finite]


class Spec(BaseModel):
    """A declarative file or a part of one: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that came later: while they say nothing new (their default) they are not part of the identity, so that a
    release with one more field does not make every score, certificate and run that was bound to a hash stale."""

    confirming: ClassVar[frozenset[str]] = frozenset()
    """Fields that only confirm what the rest says, and are refused where they do not agree with it: as comments are, they are
    no part of the identity."""

    @model_serializer(mode="wrap")
    def _identity(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        if not (info.context or {}).get(IDENTITY):
            return written
        fields = type(self).model_fields
        silent = {name for name in self.added if getattr(self, name) == fields[name].get_default()} | self.confirming
        return {key: value for key, value in written.items() if key not in silent}


class Text(Spec):
    """A text that people read, in both languages."""

    en: str = Field(min_length=1)
    ja: str = Field(min_length=1)
