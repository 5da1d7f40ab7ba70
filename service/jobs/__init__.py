"""Work that outlives its request: kept in Redis, done at least once by any gateway, its outcome written once."""
