"""What a written value means, by the field it is for: what the user meant where that is certain, else refused."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from weightsmith.settings.nodes import Path, Refused, Scalar

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_DIGITS = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?!0[0-9])(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASED = re.compile(r"[-+]?0(o[0-7]+|x[0-9a-fA-F]+|b[01]+)")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_SPELLINGS = {form(word): truth for word, truth in _TRUTHS.items() for form in (str.lower, str.title, str.upper)}
_LONGEST = 40


def refuse(expected: str, remedy: str = "") -> NoReturn:
    """Refuse a value: what is expected there, and what to write instead."""
    text = f"expected {expected}; {remedy}" if remedy else f"expected {expected}"
    raise PydanticCustomError("recipe_value", "{text}", {"text": text})


def _intended_integer(scalar: Scalar) -> str:
    """The remedy for a value that is almost an integer; empty where it is not."""
    text = scalar.text
    if len(text) > _LONGEST:
        return ""
    if scalar.quoted and _INTEGER.fullmatch(text):
        return f"write {text} without quotes"
    if _DIGITS.fullmatch(text):
        return f"write {int(text)}" if _INTEGER.fullmatch(str(int(text))) else "it is too large"
    if _BASED.fullmatch(text):
        return f"write {int(text, 0)}"
    if _GROUPED.fullmatch(text) and "." not in text:
        return f"write {int(text.replace('_', ''))}"
    if _NUMBER.fullmatch(text) and abs(float(text)) < 2**53 and float(text).is_integer():
        return f"write {int(float(text))}"
    return ""


def read_integer(value: Any) -> Any:
    """A decimal integer as written; `012`, `0o17`, `1_000`, `5.0` and `"5"` are refused with what to write."""
    if not isinstance(value, Scalar):
        return value
    if not value.quoted and _INTEGER.fullmatch(value.text):
        return int(value.text)
    refuse("an integer", _intended_integer(value))


def read_optional(value: Any) -> Any:
    """`null` as nothing; anything else is left to the field."""
    return None if isinstance(value, Scalar) and value.is_nothing else value


def read_number(value: Any) -> Any:
    """A finite decimal number; `1e-3` is one."""
    if isinstance(value, float) and not math.isfinite(value):
        refuse("a finite number")
    if not isinstance(value, Scalar):
        return value
    if _NOT_FINITE.fullmatch(value.text):
        refuse("a finite number")
    if _NUMBER.fullmatch(value.text):
        if value.quoted:
            refuse("a number", f"write {value.text} without quotes" if len(value.text) < _LONGEST else "remove quotes")
        if not math.isfinite(float(value.text)):
            refuse("a number of at most 1.8e308")
        return float(value.text)
    refuse("a number", _intended_integer(value))


def read_truth(value: Any) -> Any:
    """`true` or `false`; `yes`, `on`, `no` and `off` mean the same."""
    if not isinstance(value, Scalar):
        return value
    if value.text in _SPELLINGS and not value.quoted:
        return _SPELLINGS[value.text]
    refuse("true or false", "remove the quotes" if value.text in _SPELLINGS else "")


def read_text(value: Any) -> Any:
    """Text as written, quoted or not; nothing at all is refused."""
    if not isinstance(value, Scalar):
        return value
    if value.is_nothing:
        refuse("text", f'write "{value.text}" in quotes' if value.text else "")
    return value.text


def read_mapping(value: Any) -> Any:
    """A mapping; nothing at all (`options:` with an empty rest) is an empty one."""
    return {} if isinstance(value, Scalar) and value.is_nothing else value


def read_free(value: Any) -> Any:
    """Values for which no type is declared: YAML 1.2's own reading, ambiguous spellings refused, each at its place."""
    errors: list[InitErrorDetails] = []
    result = _read_tree(value, (), errors)
    if errors:
        raise ValidationError.from_exception_data("options", errors)
    return result


def _read_tree(value: Any, path: Path, errors: list[InitErrorDetails]) -> Any:
    if isinstance(value, dict):
        return {key: _read_tree(child, (*path, key), errors) for key, child in value.items()}
    if isinstance(value, list):
        return [_read_tree(child, (*path, index), errors) for index, child in enumerate(value)]
    try:
        return _read_leaf(value)
    except PydanticCustomError as error:
        errors.append(InitErrorDetails(type=error, loc=path, input=value))
        return None


def _read_leaf(value: Any) -> Any:
    if isinstance(value, Scalar):
        if value.is_nothing:
            return None
        return value.text if value.quoted else _read_plain(value)
    if isinstance(value, float):
        return read_number(value)
    if value is None or isinstance(value, Refused | str | bool | int):
        return value
    refuse("a number, text, true, false, null, a list or a mapping")


def _read_plain(value: Scalar) -> Any:
    text = value.text
    if text.lower() in ("true", "false") and text in _SPELLINGS:
        return _SPELLINGS[text]
    if text in _SPELLINGS:
        refuse("a certain meaning", f"write {str(_SPELLINGS[text]).lower()}, or '{text}' in quotes")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DIGITS.fullmatch(text) or any(form.fullmatch(text) for form in (_BASED, _GROUPED, _SEXAGESIMAL)):
        remedy = _intended_integer(value) or "write a decimal number"
        refuse("a certain meaning", f"{remedy}, or put it in quotes")
    return read_number(value) if _NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text) else text


Integer = Annotated[int, BeforeValidator(read_integer)]
Number = Annotated[float, BeforeValidator(read_number)]
Truth = Annotated[bool, BeforeValidator(read_truth)]
Text = Annotated[str, BeforeValidator(read_text)]
