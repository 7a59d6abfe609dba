"""What nothing in mblab uses, and why it stays; `vulture` counts what stands here as used.

A name is added with its reason, or deleted from mblab.
"""


class _Anything:
    def __getattr__(self, name: str) -> None: ...


_ = _Anything()

# a notebook, a script or a test types them: the public API, without which there would be nothing to run
_.autotune
_.on_batch
_.only
_.plot_cost
_.plot_decisions
_.verify
_.with_duplicates
_.with_gaps
_.with_late
_.with_poison
_.clicks
_.orders
_.requests
_.sensors
_.dropped  # of what `sinks.memory` keeps
_.watermark  # of the context that a step is handed
_.advance  # of `testing.ManualClock`
_.cut_power  # of the disk that tests crash

# somebody else calls them
_.load_ipython_extension  # IPython, for %load_ext mblab
_.unload_ipython_extension
_.mblab  # IPython, for %mblab
_._options  # typer, before every verb
_.show_version
_._constructor  # pandas, for what is made of a frame of ours
_.requested_schema  # Arrow, when it asks a frame for a stream
_.attrs  # pandas: what rows carry along is taken off them

# facts that are written down for whoever reads them, by position or by name
_.commit_ns
_.cost_ratio
_.licence
_.says  # what a policy does, in words

# traitlets and ipykernel look for them
_._hear_every_page
_._reply_subshell_for
