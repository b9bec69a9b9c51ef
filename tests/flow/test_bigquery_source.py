"""Training from BigQuery (bqemulator), by Google's SDK."""


def test_the_server_answers(bigquery):
    found = [item.dataset_id for item in bigquery.client().list_datasets()]
    assert found == ["shogi"]
