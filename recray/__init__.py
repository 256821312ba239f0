"""recray: a streaming-video recommendation engine on Ray.

The map, from the bottom up; imports run one way, downwards.

- `errors`, `schema`, `settings`: what can fail, the vocabulary, every knob.
- `features`: what is declared about profiles and titles, the one fold from events to state, the one vectorizer.
- `stores`: the online store, the event log, the lake of imported and sunk data, the registry of bundles.
- `catalog`: titles as arrays, licences, content vectors, text search.
- `candidates`: sources, filters, union. `ranking`: rankers and the slate. `experiments`: arms and analysis.
- `pages`: rows, page, explanations. `bundle`: everything one answer is made from, as files.
- `recommend`: one request, stage by stage. Start here. `evaluation`: metrics, protocols, off-policy, the gate.
- `bench`: measurements against peers.
- `data` (Ray Data): import, split, replay, examples, publish. `training` (Ray Train, Tune): one run, searches.
- `serving` (Ray Serve): HTTP, deployments, the sink. `simulation`: worlds, load. `operations`: the doctor. `web`: pages.
- `cli`: the commands.
"""
