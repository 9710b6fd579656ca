"""Prints the matrix as a table of Markdown: `python -m support.hostile` in `tests/`."""

from __future__ import annotations

from support.hostile.matrix import MATRIX


def main() -> None:
    print("| case | what is done | control | outcome |\n| --- | --- | --- | --- |")
    for row in MATRIX:
        for each in row.expected:
            print(f"| {row.id} | {row.what} | {each.control} | {' '.join(filter(None, (each.outcome, each.code)))} |")


if __name__ == "__main__":
    main()
