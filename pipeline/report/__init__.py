"""The management report: a snapshot of the store, made into PDF, PPTX or HTML. The only place that imports typst and pptx."""
