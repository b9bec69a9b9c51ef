"""The stores of objects, by provider."""

from collections.abc import Callable

from maou.sources.gcs import GCSDataSource
from maou.sources.object_store import ObjectStore
from maou.sources.s3 import S3DataSource

STORES: dict[str, Callable[[str, int], ObjectStore]] = {
    store.provider: store for store in (GCSDataSource, S3DataSource)
}
"""Opens a bucket of each provider for a number of threads."""
