"""Programs over finished runs or over the whole suite; nothing imports them but their tests."""
