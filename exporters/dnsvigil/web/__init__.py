"""The pages that people look at. docs/web.md describes them."""
