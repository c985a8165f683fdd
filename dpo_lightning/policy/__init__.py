"""The one model that is trained: loaded, adapted, prepared, sharded and sampled from."""
