from raworc.store.migrate import differences


def test_the_migrations_make_what_the_schema_says(database_url):
    assert differences(database_url) == []
