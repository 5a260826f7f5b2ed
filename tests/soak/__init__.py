"""Everything that happens on a machine, drawn from a seed, and an account of every sample.

    make soak HOURS=2 [SEED=7]

| module | one thing |
|---|---|
| `played` | what is played: of any few samples it can tell their place |
| `account` | what one reader got, against that: kept, flagged, or lost without a word |
| `clients`, `readers` | three Python readers, and what they hand over |
| `recordings` | a recorder on a small disk, and the account of its files |
| `machine` | the sound server, its sources, the engine, and all who listen |
| `faults` | what can happen to them; when, how often and for how long is drawn |
| `report` | what is printed, kept as JSON, and written into docs/reliability.md |
"""
