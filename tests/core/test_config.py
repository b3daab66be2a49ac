"""Configuration errors name the file, the line and the key; nothing is ignored silently."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from app.core.config import load_config
from app.core.errors import ConfigError
from app.core.settings import Settings, load_settings, unknown_variables
from app.gateway.configured import catalog_from_config, catalog_from_environment
from app.gateway.entries import build_entries, build_rules
from app.main import Proxy


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


GOOD = """\
model_list:
  - model_name: mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/SOME_KEY
      rpm: 100
  - model_name: local
    litellm_params: {model: hosted_vllm/qwen, api_base: "http://10.0.0.1:8000/v1/", temperature: 0.5}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 2e-6, max_input_tokens: 4096}
litellm_settings: {drop_params: true, set_verbose: true}
general_settings: {master_key: sk-1234, alerting: [slack]}
routing:
  default: spread
  routers:
    spread: {router: uniform, params: {weights: {mini: 3, local: 1}}, tradeoff: 0.2}
ledger: {store_text: true}
"""


def test_litellms_file_is_read_as_it_is(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    (warning,) = config.warnings
    assert "general_settings.alerting" in warning
    assert "litellm_settings.set_verbose" in warning
    assert "drop_params" not in warning
    catalog = catalog_from_config(config, {"SOME_KEY": "k1"})
    mini, local = catalog.values()
    assert (mini.upstream, mini.target, mini.api_key, mini.key_name) == ("direct", "gpt-4o-mini", "k1", "SOME_KEY")
    assert mini.price is not None
    assert mini.price.input == Decimal("1.5e-7")
    assert mini.price.cached_input == Decimal("7.5e-8")
    assert mini.price.source.startswith("litellm ")
    assert mini.capabilities is not None
    assert "tools" in mini.capabilities
    assert (local.base_url, local.context_window) == ("http://10.0.0.1:8000/v1", 4096)
    assert local.params == {"temperature": 0.5}
    assert local.price is not None
    assert (local.price.output, local.price.source) == (Decimal("0.000002"), "config")
    assert "k1" not in repr(mini)
    entries = build_entries(config)
    assert entries["spread"].tradeoff == 0.2
    assert build_rules(config, catalog, entries).default == "spread"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_lst: []", "line 1: unknown key `model_lst`; did you mean `model_list`?"),
        ("routing:\n  defalt: x", "line 2: `routing.defalt`: unknown key; did you mean `default`?"),
        ("routing:\n  tradeoff: 2", "line 2: `routing.tradeoff`: Input should be less than or equal to 1"),
        ("ledger:\n  fsync: often", "line 2: `ledger.fsync`: Input should be 'none', 'interval' or 'always'"),
        ("routing:\n  routers:\n    a: {}", "line 3: `routing.routers.a`: needs `router` (a name) or `artifact`"),
        ("routing:\n  routers:\n    a:\n      rooter: x", "line 4: `routing.routers.a.rooter`: unknown key; did you"),
        ("model_list:\n  - litellm_params: {model: a}", "line 2: `model_list.0.model_name`: is missing"),
        ("model_list:\n  - model_name: a\n    litellm_params: {}", "line 3: `model_list.0.litellm_params.model`"),
        ("model_list: {a: b}", "line 1: `model_list`: Input should be a valid tuple"),
        ("a: [", "line 1"),
        ("- a", "line 1: the file must hold keys and values, not a list"),
        ("routing: 3", "line 1: `routing`"),
        ("routing:\n  timeout: 1\n  retries: 2\n  timeout: 3", "line 4: `routing.timeout` stands on line 2 already"),
        ("model_list: []\nmodel_list: []", "line 2: `model_list` stands on line 1 already"),
    ],
)
def test_errors_name_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; check HULLSPEED_CONFIG"):
        load_config(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "latin")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("routing: {default: nope}", "routing.default: there is no router `nope`"),
        ("routing: {default: cheepest}", "did you mean `cheapest`?"),
        ("routing: {fallback: [gpt]}", "routing.fallback: there is no model `gpt`"),
        ("routing: {models: [gpt]}", "routing.models: there is no model `gpt`"),
        ("routing: {routers: {a: {router: knm}}}", "routing.routers.a: no router is named 'knm'; did you mean 'knn'"),
        ("routing: {routers: {a: {router: fixed}}}", "routing.routers.a: router 'fixed' needs the parameter 'model'"),
        ("routing: {routers: {a: {router: uniform, params: {x: 1}}}}", "takes no parameter 'x'"),
        ("routing: {routers: {a: {artifact: ./nope}}}", "routing.routers.a: "),
        ("routing: {routers: {a: {router: oracle}}}", "routing.routers.a: "),
    ],
)
def test_names_that_do_not_exist(tmp_path: Path, text: str, words: str) -> None:
    models = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_key: k}}]\n"
    config = load_config(write(tmp_path, models + text))
    catalog = catalog_from_config(config, {})
    with pytest.raises(ConfigError) as caught:
        build_rules(config, catalog, build_entries(config))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("{model: openai/m, api_key: os.environ/NOT_SET}", "takes its key from NOT_SET, which is not set"),
        ("{model: hosted_vllm/m}", "needs `api_base`"),
        ("{model: openai/m, input_cost_per_token: 0.1}", "one price without the other; add `output_cost_per_token`"),
        ("{model: openai/m, api_base: os.environ/NOT_SET}", "is taken from NOT_SET, which is not set"),
    ],
)
def test_models_that_cannot_be_reached(tmp_path: Path, params: str, words: str) -> None:
    config = load_config(write(tmp_path, f"model_list: [{{model_name: m, litellm_params: {params}}}]"))
    with pytest.raises(ConfigError) as caught:
        catalog_from_config(config, {})
    assert words in caught.value.message


def test_every_missing_key_is_named_at_once(tmp_path: Path) -> None:
    entry = "{{model_name: {0}, litellm_params: {{model: openai/m, api_key: os.environ/KEY_OF_{0}}}}}"
    entries = ", ".join(entry.format(name) for name in "abb")
    with pytest.raises(ConfigError) as caught:
        catalog_from_config(load_config(write(tmp_path, f"model_list: [{entries}]")), {})
    assert caught.value.message == (
        "model_list: `a` takes its key from KEY_OF_a, which is not set; "
        "model_list: `b` takes its key from KEY_OF_b, which is not set"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "  - model_name: n\n    litellm_params:\n      model: openai/n\n      api_key: os.environ/NOT_SET",
            "line 5: ",
        ),
        (
            "  - model_name: n\n    litellm_params:\n      model: hosted_vllm/n",
            "line 3: model_list: `n` needs `api_base`",
        ),
        ("routing:\n  retries: 1\n  default: nope", "line 4: routing.default: there is no router `nope`"),
        ("routing:\n  routers:\n    a: {router: knm}", "line 4: routing.routers.a: no router is named 'knm'"),
        ("router_settings:\n  fallbacks: [{m: [nope]}]", "line 3: router_settings.fallbacks.m: The model `nope`"),
        ("litellm_settings:\n  fallbacks: [{m: [nope]}]", "line 3: litellm_settings.fallbacks.m: The model `nope`"),
    ],
)
def test_errors_found_later_name_the_line_too(tmp_path: Path, text: str, words: str) -> None:
    models = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_key: k}}]\n"
    path = write(tmp_path, text if text.startswith(" ") else models + text)
    if text.startswith(" "):
        path.write_text("model_list:\n" + text)
    with pytest.raises(ConfigError) as caught:
        Proxy(Settings(data_dir=tmp_path), load_config(path), environ={})
    assert caught.value.message.startswith(f"{path}, {words}")


def test_what_nobody_knows_is_warned_of(tmp_path: Path) -> None:
    text = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_bse: http://x
      reasoning_effort: low
      zz_new: 1
    model_info:
      max_input_tokns: 5
    rpmm: 3
"""
    unused, unknown = load_config(write(tmp_path, text)).warnings
    assert unused.endswith("model_list.model_info.max_input_tokns (line 9); model_list.rpmm (line 10)")
    assert unknown.endswith(
        "sent to the provider with every request: model_list.litellm_params.api_bse (line 5; did you mean `api_base`?)"
        "; model_list.litellm_params.zz_new (line 7)"
    )


def test_variables_that_are_none_of_the_settings_are_warned_of() -> None:
    found = unknown_variables({"HULLSPEED_PROT": "1", "HULLSPEED_PORT": "1", "HULLSPEED_BASE_URL": "x", "PATH": "x"})
    assert found == ["HULLSPEED_PROT is not known; did you mean HULLSPEED_PORT?"]


def test_keys_in_the_environment_make_a_catalog() -> None:
    catalog = catalog_from_environment({"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "GROQ_API_KEY": ""})
    assert "OPENAI_API_KEY, ANTHROPIC_API_KEY" in catalog.source
    providers = {model.provider for model in catalog.values()}
    assert providers == {"openai", "anthropic"}
    for model in catalog.values():
        assert model.price is not None, f"{model.name} is not in the price map: replace it in WELL_KNOWN"
        assert model.upstream == ("direct" if model.provider == "openai" else "litellm")
    prices = [model.price.output for model in catalog.values() if model.provider == "openai" and model.price]
    assert prices == sorted(prices)
    assert prices[-1] >= 5 * prices[0], "a cheap and a strong model, or there is nothing to route"
    assert not catalog_from_environment({})


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "HULLSPEED_PORT", "HULLSPEED_API_KEY", "HULLSPEED_HOST"):
        # Set, then deleted: so that what `.env` puts into the environment is taken away again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HULLSPEED_LOG_LEVEL", "debug")
    (tmp_path / ".env").write_text("HULLSPEED_PORT=9001\nHULLSPEED_API_KEY=\n")
    settings = load_settings()
    assert (settings.port, settings.log_level, settings.api_key) == (9001, "debug", None)
    assert load_settings(port=9002).port == 9002
    monkeypatch.setenv("HULLSPEED_PORT", "x")
    with pytest.raises(ConfigError, match="HULLSPEED_PORT"):
        load_settings()
