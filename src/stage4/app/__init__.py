"""
The composition root: the only place that chooses parts and joins them.

`installing` makes an installation, `environment` joins what `stage4 run` starts, `service` what `stage4 serve`
starts, `demo` plays the first incident. A package and not one file, because the three processes have little in common
(docs/adr/0002).
"""
