"""The pages under `/ui`: an application of its own, made when the first page is asked for."""
