CREATE INDEX orders_by_article ON orders (article);
