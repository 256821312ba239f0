"""Where state, events, bundles and history live: the online store, the event log, the lake and the registry."""
