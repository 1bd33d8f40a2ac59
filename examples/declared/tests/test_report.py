import unittest

from shop.report import ARTICLES, sales_of


class Sales(unittest.TestCase):
    def test_every_article_is_there(self) -> None:
        assert sorted(name for name, _ in sales_of("2026-11")) == sorted(ARTICLES)

    def test_the_best_comes_first(self) -> None:
        counts = [count for _, count in sales_of("2026-11")]
        assert counts == sorted(counts, reverse=True)
