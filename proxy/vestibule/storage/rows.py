"""Rows to records: column names are field names, so one conversion serves every table."""

from typing import TypeVar

import msgspec
from sqlalchemy import Case, Column, Row, Table, case

R = TypeVar("R", bound=msgspec.Struct)


def record(kind: type[R], row: Row[tuple[object, ...]]) -> R:
    """The record of a row of one table; a field without a column has its default."""
    values = row._mapping
    return msgspec.convert({field: values[field] for field in kind.__struct_fields__ if field in values}, kind)


def part(kind: type[R], table: Table, row: Row[tuple[object, ...]]) -> R | None:
    """One table's share of a joined row; None where an outer join found nothing."""
    values = {field: row._mapping[table.c[field]] for field in kind.__struct_fields__}
    return msgspec.convert(values, kind) if values["id"] is not None else None


def later(column: Column[int], value: int | None) -> Case[int | None]:
    """The greater of both; written as CASE, because the function for it differs between databases."""
    return case((column > value, column), else_=value)
