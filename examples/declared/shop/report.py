import hashlib

ARTICLES = ("apples", "bread", "coffee", "dates", "eggs")


def sales_of(month: str) -> list[tuple[str, int]]:
    """Return invented sales, the same for the same month, best first."""
    sales = [(name, hashlib.sha256((month + name).encode()).digest()[0]) for name in ARTICLES]
    return sorted(sales, key=lambda sale: -sale[1])


def main() -> None:
    print(sales_of("2026-11"))
