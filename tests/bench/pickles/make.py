"""Writes the pickles beside this file, each with the version of pandas that its name says.

`python -m tests.bench.pickles.make`, once with each version installed (1.5.3, 2.0.3, 2.2.3, 3.0.0).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MODELS = ("gpt-4-1106-preview", "mistralai/mistral-7b-chat")
COLUMNS: dict[str, list[Any]] = {
    "sample_id": ["mmlu-astronomy.val.5", "mtbench.dev.1", "mtbench.dev.2"],
    "prompt": [str(['It\'s a "test"\n? é漢']), str(["first", "second"]), str(["third"])],
    "eval_name": ["mmlu-astronomy", "mtbench", "mtbench"],
    MODELS[0]: [1.0, 0.9, 0.0],
    MODELS[1]: [1.0, 0.3, 0.25],
    f"{MODELS[0]}|model_response": [str(["A"]), str(["Hi\n'there'"]), str([""])],
    f"{MODELS[1]}|model_response": [str(["A"]), str(["Hi\n'there'"]), str([""])],
    f"{MODELS[0]}|total_cost": [1e-5 / 3, 0.1 + 0.2, 0.0],
    f"{MODELS[1]}|total_cost": [2e-5 / 3, 0.1 + 0.2, 0.0],
    "oracle_model_to_route_to": [MODELS[0], MODELS[0], MODELS[1]],
}


def main() -> None:
    import pandas as pd

    frame = pd.DataFrame(COLUMNS)
    version = f"pandas-{pd.__version__}"
    frame.to_pickle(FOLDER / f"{version}.pkl")
    for protocol in (2, 4):
        frame.to_pickle(FOLDER / f"{version}-protocol-{protocol}.pkl", protocol=protocol)
    frame[frame.index != 1].to_pickle(FOLDER / f"{version}-filtered.pkl")
    frame.iloc[::-1].to_pickle(FOLDER / f"{version}-reversed.pkl")
    frame.set_index("sample_id").to_pickle(FOLDER / f"{version}-indexed.pkl")
    mixed = frame.astype({MODELS[0]: object})
    mixed["year"], mixed["day"] = [1, 2, 3], pd.to_datetime(["2024-03-01"] * 3)
    mixed["kind"] = mixed["eval_name"].astype("category")
    mixed.to_pickle(FOLDER / f"{version}-mixed.pkl")


if __name__ == "__main__":
    main()
