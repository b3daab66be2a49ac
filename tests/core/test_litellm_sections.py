"""litellm's config.yaml means here what it means there."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.config import load_config
from app.core.errors import ConfigError
from app.gateway.configured import catalog_from_config


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


SETTINGS = """\
router_settings:
  timeout: 30
  stream_timeout: 5
  num_retries: 4
  allowed_fails: 7
  cooldown_time: 60
  default_max_parallel_requests: 9
  fallbacks: [{small: [large, {model: huge, temperature: 0}]}, {large: [huge]}]
  context_window_fallbacks: [{small: [huge]}]
  default_fallbacks: [small]
  routing_strategy: latency-based-routing
litellm_settings:
  num_retries: 1
  callbacks: [langfuse]
general_settings:
  global_max_parallel_requests: 50
  alerting: [slack]
guardrails: []
"""
MODELS = """\
model_list:
  - {model_name: small, litellm_params: {model: openai/gpt-4o-mini, api_key: k, weight: 2, max_parallel_requests: 3}}
  - {model_name: large, litellm_params: {model: openai/gpt-4o, api_key: k, stream_timeout: 2}}
  - {model_name: huge, litellm_params: {model: anthropic/claude-opus-4-5, api_key: k}}
"""


def test_settings_in_our_words(tmp_path: Path) -> None:
    routing = load_config(write(tmp_path, MODELS + SETTINGS)).routing
    assert (routing.timeout, routing.first_token_timeout) == (30, 5)
    assert (routing.retries, routing.allowed_fails, routing.cooldown) == (4, 7, 60)
    assert routing.max_inflight == 50
    assert routing.stream_timeout == 3600, "litellm's word for another thing"


def test_ours_win(tmp_path: Path) -> None:
    own = "routing: {timeout: 10, retries: 0, max_inflight: 5}\n"
    routing = load_config(write(tmp_path, MODELS + SETTINGS + own)).routing
    assert (routing.timeout, routing.retries, routing.max_inflight) == (10, 0, 5)
    assert routing.cooldown == 60


def test_one_timeout_bounds_an_attempt(tmp_path: Path) -> None:
    text = "router_settings: {timeout: 100}\nlitellm_settings: {request_timeout: 20}\n"
    assert load_config(write(tmp_path, text)).routing.timeout == 20


def test_one_warning_lists_what_is_ignored(tmp_path: Path) -> None:
    more = SETTINGS.replace("{large: [huge]}", "{lrge: [huge]}")
    (warning,) = load_config(write(tmp_path, MODELS + more)).warnings
    listed = warning.partition("not used by Hullspeed: ")[2].split("; ")
    assert listed == [
        "fallbacks of `lrge`, which model_list does not have (line 12)",
        "general_settings.alerting (line 21)",
        "guardrails (line 22)",
        "litellm_settings.callbacks (line 18)",
        "model_list.litellm_params.weight (line 2)",
        "router_settings.fallbacks (parameters of a fallback) (line 12)",
        "router_settings.routing_strategy (line 15)",
    ]


def test_deployments(tmp_path: Path) -> None:
    catalog = catalog_from_config(load_config(write(tmp_path, MODELS + SETTINGS)), {})
    assert [model.max_inflight for model in catalog.values()] == [3, 9, 9]
    assert [model.first_token_timeout for model in catalog.values()] == [None, 2, None]
    assert all("weight" not in model.params and "stream_timeout" not in model.params for model in catalog.values())


def test_fallbacks(tmp_path: Path) -> None:
    fallbacks = catalog_from_config(load_config(write(tmp_path, MODELS + SETTINGS)), {}).fallbacks
    assert fallbacks.after("small") == ("large", "huge"), "a fallback's own come after it, none twice"
    assert fallbacks.after("huge") == ("small", "large"), "its own default, then theirs"
    assert fallbacks.larger("small") == ("huge",)
    assert fallbacks.larger("large") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "router_settings: {fallbacks: [{small: [lrge]}]}",
            "fallbacks.small: The model `lrge` does not exist here. Did",
        ),
        ("router_settings: {default_fallbacks: [x]}", "fallbacks.*: The model `x` does not exist"),
        ("router_settings: {model_group_alias: {gpt: y}}", "router_settings.model_group_alias.gpt: The model `y` does"),
    ],
)
def test_models_that_fallbacks_name_exist(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog_from_config(load_config(write(tmp_path, MODELS + text)), {})
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("router_settings:\n  num_retries: -1", "line 2: `router_settings.num_retries`: Input should be greater"),
        ("router_settings:\n  fallbacks: {a: [b]}", "line 2: `router_settings.fallbacks`: must be a list such as"),
        ("litellm_settings:\n  fallbacks: [a]", "line 2: `litellm_settings.fallbacks`: must be a list such as"),
        ("litellm_settings:\n  fallbacks: [{a: b}]", "line 2: `litellm_settings.fallbacks`: `a` must have a list"),
        ("router_settings:\n  timeout: os.environ/NOT_SET", "line 2: `router_settings.timeout`: is taken from NOT_SET"),
        ("general_settings:\n  master_key: os.environ/NOT_SET", "line 2: `general_settings.master_key`: is taken from"),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: b\n    rpm: os.environ/NOT_SET",
            "line 5: `model_list.0.litellm_params.rpm`: is taken from NOT_SET",
        ),
    ],
)
def test_errors_name_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), {})
    assert words in caught.value.message


def test_variables_of_the_environment_anywhere(tmp_path: Path) -> None:
    text = """\
model_list:
  - model_name: a
    litellm_params: {model: anthropic/b, api_key: os.environ/KEY, rpm: os.environ/RPM, thinking: {a: [os.environ/B]}}
    model_info: {max_input_tokens: os.environ/WINDOW}
router_settings: {num_retries: os.environ/RETRIES}
general_settings: {master_key: os.environ/MASTER}
"""
    environ = {"KEY": "k", "RPM": "60", "B": "7", "WINDOW": "1000", "RETRIES": "3", "MASTER": "sk-master"}
    config = load_config(write(tmp_path, text), environ)
    assert config.routing.retries == 3
    assert config.general_settings.master_key is not None
    assert config.general_settings.master_key.get_secret_value() == "sk-master"
    (model,) = catalog_from_config(config, environ).values()
    assert (model.rpm, model.context_window, model.params) == (60, 1000, {"thinking": {"a": ["7"]}})
    assert (model.api_key, model.key_name) == ("k", "KEY")


def test_included_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write(tmp_path, "include: [deeper.yaml]\n" + MODELS.replace("small", "third"), "more/models.yaml")
    write(tmp_path, "routing: {tradeoff: 0.1}\ninclude: [models.yaml]\n", "more/deeper.yaml")
    path = write(tmp_path, "include: [more/models.yaml]\nrouting: {tradeoff: 0.9}\n" + MODELS)
    config = load_config(path)
    names = [entry.model_name for entry in config.model_list]
    assert names == ["small", "large", "huge", "third", "large", "huge"], "lists are appended to"
    assert config.routing.tradeoff == 0.1, "all else is overridden"
    assert [file.name for file in config.files] == ["config.yaml", "models.yaml", "deeper.yaml"]


def test_errors_in_included_files_name_them(tmp_path: Path) -> None:
    write(tmp_path, "\nmodel_list:\n  - {model_name: x, litellm_params: {}}\n", "models.yaml")
    path = write(tmp_path, MODELS + "include: [models.yaml]\n")
    with pytest.raises(ConfigError, match=r"models\.yaml, line 3: `model_list\.3\.litellm_params\.model`: is missing"):
        load_config(path)
    path.write_text("\ninclude: [nope.yaml]\n")
    with pytest.raises(ConfigError, match=r"config\.yaml, line 2: `include`: config file .*nope\.yaml does not exist"):
        load_config(path)
    path.write_text("include: nope.yaml\n")
    with pytest.raises(ConfigError, match=r"line 1: `include`: must be a list of file names"):
        load_config(path)


def test_base_model_gives_price_and_limits(tmp_path: Path) -> None:
    text = """\
model_list:
  - model_name: a
    litellm_params: {model: azure/my-deployment, api_base: "http://x", api_key: k}
    model_info: {base_model: azure/gpt-4o}
  - model_name: b
    litellm_params: {model: azure/my-deployment, api_base: "http://x", api_key: k}
"""
    known, unknown = catalog_from_config(load_config(write(tmp_path, text)), {}).values()
    assert known.price is not None
    assert (known.context_window, known.provider, known.target) == (128_000, "azure", "azure/my-deployment")
    assert unknown.price is None


def test_prices_stand_in_either_place(tmp_path: Path) -> None:
    params = "{model: openai/x, api_key: k, input_cost_per_token: 1e-6, output_cost_per_token: 2e-6"
    text = f"model_list:\n  - {{model_name: a, litellm_params: {params}, cache_read_input_token_cost: 1e-7}}}}\n"
    (model,) = catalog_from_config(load_config(write(tmp_path, text)), {}).values()
    assert model.price is not None
    assert str(model.price.cached_input) == "1E-7"
    assert model.params == {}, "a price is no parameter of a request"


def test_what_is_sent_to_whom(tmp_path: Path) -> None:
    text = """\
model_list:
  - model_name: direct
    litellm_params: &params
      {model: my-model, custom_llm_provider: openai, api_key: k, organization: org, drop_params: true, seed: 7,
       additional_drop_params: [user], extra_headers: {X-Team: os.environ/TEAM}, max_retries: 3}
  - model_name: translated
    litellm_params: {<<: *params, custom_llm_provider: anthropic}
"""
    direct, other = catalog_from_config(load_config(write(tmp_path, text), {}), {"TEAM": "blue"}).values()
    assert (direct.upstream, direct.target) == ("direct", "my-model")
    assert direct.headers == {"x-team": "blue", "openai-organization": "org"}
    assert (direct.params, direct.drop_params) == ({"seed": 7}, True)
    assert direct.dropped == {"user"}
    assert other.upstream == "litellm"
    assert other.params == {
        "seed": 7,
        "drop_params": True,
        "additional_drop_params": ["user"],
        "custom_llm_provider": "anthropic",
        "organization": "org",
        "extra_headers": {"X-Team": "blue"},
    }


def test_drop_params_holds_for_all_and_each_may_differ(tmp_path: Path) -> None:
    text = """\
model_list:
  - {model_name: a, litellm_params: {model: anthropic/x, api_key: k}}
  - {model_name: b, litellm_params: {model: anthropic/x, api_key: k, drop_params: false}}
  - {model_name: c, litellm_params: {model: openai/x, api_key: k}}
litellm_settings: {drop_params: true}
"""
    a, b, c = catalog_from_config(load_config(write(tmp_path, text)), {}).values()
    assert a.params == {"drop_params": True}
    assert b.params == {}
    assert (c.params, c.drop_params) == ({}, True)


WILDCARDS = """\
model_list:
  - {model_name: listed, litellm_params: {model: openai/gpt-4o, api_key: k}}
  - {model_name: "openai/*", litellm_params: {model: "openai/*", api_key: k, api_base: "http://x/v1"}}
  - {model_name: "openai/o*", litellm_params: {model: "openai/o*", api_key: reasoning}}
  - {model_name: "fast-*", litellm_params: {model: "groq/*", api_key: k}}
  - {model_name: "claude/*", litellm_params: {model: "anthropic/claude-*", api_key: k}}
"""


def test_wildcards(tmp_path: Path) -> None:
    catalog = catalog_from_config(load_config(write(tmp_path, WILDCARDS)), {})
    assert list(catalog) == ["listed"], "routers see no wildcard"
    mini = catalog.find("openai/gpt-4o-mini")
    assert (mini.name, mini.target, mini.base_url) == ("openai/gpt-4o-mini", "gpt-4o-mini", "http://x/v1")
    assert mini.price is not None
    assert mini.price.source.startswith("litellm ")
    assert catalog.find("openai/gpt-4o-mini") is mini, "made once"
    assert catalog.find("openai/o3").api_key == "reasoning", "the longest pattern"
    assert catalog.find("fast-llama-x").provider == "groq"
    assert catalog.find("claude/opus-4-5").target == "anthropic/claude-opus-4-5"
    assert catalog.find("gpt-4o-mini").target == "gpt-4o-mini", "litellm knows whose it is"
    assert catalog.label("openai/whatever") == "openai/*"
    assert catalog.label("listed") == "listed"


@pytest.mark.parametrize("name", ["nothing", "openai/../files", "openai/a b", "openai/a?b", "openai/" + "x" * 300])
def test_names_that_no_wildcard_stands_for(tmp_path: Path, name: str) -> None:
    catalog = catalog_from_config(load_config(write(tmp_path, WILDCARDS)), {})
    assert name not in catalog


def test_a_wildcard_for_everything(tmp_path: Path) -> None:
    text = 'model_list: [{model_name: "*", litellm_params: {model: "*"}}]'
    catalog = catalog_from_config(load_config(write(tmp_path, text)), {"OPENAI_API_KEY": "o"})
    assert catalog.find("openai/gpt-4o").api_key == "o"
    assert catalog.find("gpt-4o").provider == "openai"
    assert catalog.find("anthropic/claude-x").upstream == "litellm"
    assert "made-up" not in catalog, "nothing says whose it is"
    assert "hosted_vllm/x" not in catalog, "nothing says where it is"


def test_a_wildcard_that_cannot_be_reached_is_an_error_at_once(tmp_path: Path) -> None:
    text = 'model_list: [{model_name: "x/*", litellm_params: {model: "hosted_vllm/*"}}]'
    with pytest.raises(ConfigError, match=r"`x/\*` needs `api_base`"):
        catalog_from_config(load_config(write(tmp_path, text)), {})


def test_names_found_are_bounded(tmp_path: Path) -> None:
    catalog = catalog_from_config(load_config(write(tmp_path, WILDCARDS)), {})
    first = catalog.find("fast-0")
    for number in range(1, 1100):
        catalog.find(f"fast-{number}")
    assert catalog.find("fast-0") is not first
    assert len(catalog.wildcards._found) == 1000


def test_aliases(tmp_path: Path) -> None:
    alias = "router_settings: {model_group_alias: {gpt-4: large, old: {model: small, hidden: true}}}\n"
    catalog = catalog_from_config(load_config(write(tmp_path, MODELS + alias)), {})
    assert catalog.find("gpt-4").name == "large"
    assert catalog.find("old").name == "small"
    assert dict(catalog.shown_aliases) == {"gpt-4": "large"}
    assert list(catalog) == ["small", "large", "huge"]
