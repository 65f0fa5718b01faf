"""Both stores keep the contract, with bounds so small that every path through history is taken."""

import kcore_store_memory
import kcore_store_sqlite

from kcore.testing.store import DurableStoreConformance, StoreConformance


class TestMemory(StoreConformance):
    (provider,) = kcore_store_memory.kcore_store()


class TestMemoryWithLittleHistory(StoreConformance):
    (provider,) = kcore_store_memory.kcore_store()
    config = kcore_store_memory.MemoryConfig(history=500)


class TestSqlite(DurableStoreConformance):
    (provider,) = kcore_store_sqlite.kcore_store()


class TestSqliteWithHistoryOnDisk(DurableStoreConformance):
    (provider,) = kcore_store_sqlite.kcore_store()
    config = kcore_store_sqlite.SqliteConfig(history=1)
