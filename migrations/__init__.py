"""The schema's history, one step a file under `versions`; installed beside `app`, which runs it at the start."""
