"""The Streamlit pages. They read the store's `v_*` views and nothing else."""
