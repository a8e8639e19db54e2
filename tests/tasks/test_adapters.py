"""Models with LoRA adapters of PEFT: the adapter's parameters, exactly, from what PEFT saves."""

import copy
import logging

import pytest
import torch
from torch.nn import functional as F

from headwater import CheckpointMismatchError, GradientStore, ModelError, SelectionError, TracInCP
from headwater.tasks import CausalLanguageModelling, SequenceClassification
from tests.oracles import tracin
from tests.tasks.test_huggingface import cross_entropy, unpadded_sum
from tests.tasks.tiny import (
    RATES,
    bert,
    classification,
    gpt2,
    items,
    llama,
    sequences,
    singles,
    tied_llama,
)

peft = pytest.importorskip("peft", reason="needs peft: pip install peft")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    # PEFT on names of base models that it would look up, and on tied weights.
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]


def adapted(build, seed, **options):
    """The same base in each case, an adapter with weights of its own."""
    base = build(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=2, lora_alpha=3, lora_dropout=0.3, **options)
        model = peft.get_peft_model(base, config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                with torch.no_grad():
                    parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model.double()


def lora_bert(seed):
    return adapted(bert, seed, target_modules=["query", "value"], task_type="SEQ_CLS")


def lora_gpt2(seed):
    return adapted(
        gpt2, seed, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )


def lora_llama(seed):
    return adapted(llama, seed, target_modules="all-linear", task_type="CAUSAL_LM")


def dora_llama(seed):
    return adapted(llama, seed, target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM")


def lora_embeddings(seed):
    return adapted(tied_llama, seed, target_modules=["embed_tokens", "v_proj"])


CASES = {
    "bert": (lora_bert, SequenceClassification(), cross_entropy, classification),
    "gpt2": (lora_gpt2, CausalLanguageModelling(), unpadded_sum, sequences),
    "llama": (lora_llama, CausalLanguageModelling(), unpadded_sum, sequences),
    "dora": (dora_llama, CausalLanguageModelling(), unpadded_sum, sequences),
    "embeddings": (lora_embeddings, CausalLanguageModelling(), unpadded_sum, sequences),
}


def expected_scores(build, loss, batches):
    model = build(0)
    checkpoints = [
        (copy.deepcopy(build(seed).state_dict()), rate)
        for seed, rate in zip((1, 2), RATES, strict=True)
    ]
    names = tracin.trainable_names(model)
    return tracin.influence_scores(
        model, checkpoints, loss, singles(batches(5, 1)), singles(batches(2, 2)), names
    )


def estimator(model, checkpoints, task, batches, **options):
    return TracInCP(
        model,
        items(batches(5, 1)),
        checkpoints,
        learning_rates=RATES[: len(checkpoints)],
        task=task,
        batch_size=3,
        **options,
    )


@pytest.mark.parametrize("case", CASES)
def test_scores_of_an_adapter_equal_the_oracle_from_what_peft_saves(case, tmp_path, caplog):
    build, task, loss, batches = CASES[case]
    for seed in (1, 2):
        build(seed).save_pretrained(tmp_path / f"folder-{seed}")
    folders = [tmp_path / f"folder-{seed}" for seed in (1, 2)]
    files = [folder / "adapter_model.safetensors" for folder in folders]
    expected = expected_scores(build, loss, batches)
    scale = float(expected.abs().max())
    with caplog.at_level(logging.INFO, logger="headwater"):
        for checkpoints in (folders, files):
            made = estimator(build(0), checkpoints, task, batches)
            scores = made.influence(batches(2, 2))
            torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-10 * scale)
    if case in ("bert", "gpt2", "llama"):
        assert "torch.func" not in caplog.text


def test_states_of_the_whole_model_or_of_its_trainable_part_are_the_same_checkpoints():
    build, task, loss, batches = CASES["gpt2"]
    whole = [copy.deepcopy(build(seed).state_dict()) for seed in (1, 2)]
    names = tracin.trainable_names(build(0))
    part = [{name: state[name] for name in names} for state in whole]
    expected = expected_scores(build, loss, batches)
    for checkpoints in (whole, part):
        scores = estimator(build(0), checkpoints, task, batches).influence(batches(2, 2))
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)


def test_the_adapter_alone_is_selected_and_the_estimator_says_so():
    model = lora_bert(0)
    made = estimator(model, [model.state_dict()], SequenceClassification(), classification)
    assert repr(made) == (
        "TracInCP(model=PeftModelForSequenceClassification, examples=5, checkpoints=1, "
        "adapter='default', parameters=6 of 31)"
    )
    assert set(made._selection) == set(tracin.trainable_names(model))


def test_an_adapter_that_was_loaded_for_inference_is_selected_too(tmp_path):
    build, task, loss, batches = CASES["bert"]
    for seed in (1, 2):
        build(seed).save_pretrained(tmp_path / str(seed))
    model = peft.PeftModel.from_pretrained(bert(0), tmp_path / "1").double()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    made = estimator(model, [tmp_path / "1", tmp_path / "2"], task, batches)
    expected = expected_scores(build, loss, batches)
    scores = made.influence(batches(2, 2))
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_an_adapter_that_transformers_added_is_read_from_its_file(tmp_path):
    build, task, _, batches = CASES["llama"]
    build(1).save_pretrained(tmp_path / "1")
    base = llama(0)
    base.load_adapter(str(tmp_path / "1"))
    expected = estimator(build(0), [tmp_path / "1"], task, batches).influence(batches(2, 2))
    scores = estimator(base.double(), [tmp_path / "1"], task, batches).influence(batches(2, 2))
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-9)


def test_a_merged_or_disabled_adapter_is_refused_with_the_remedy():
    model = lora_bert(0)
    state = copy.deepcopy(model.state_dict())
    made = estimator(model, [state], SequenceClassification(), classification)
    scores = made.influence()
    model.merge_adapter()
    with pytest.raises(ModelError, match=r"merged into the weights.*call model.unmerge_adapter"):
        made.influence()
    model.unmerge_adapter()
    with (
        model.disable_adapter(),
        pytest.raises(ModelError, match=r"disabled.*leave the block of `with model.disable"),
    ):
        made.influence()
    torch.testing.assert_close(made.influence(), scores)


def test_a_model_that_an_adapter_was_merged_into_for_good_says_what_to_select():
    model = lora_llama(0).merge_and_unload()
    state = copy.deepcopy(model.state_dict())
    arguments = (model, [state], CausalLanguageModelling(), sequences)
    with pytest.raises(SelectionError, match="no parameter of the model requires grad"):
        estimator(*arguments)
    assert estimator(*arguments, layers=["lm_head"]).influence().shape == (5,)


def test_a_checkpoint_of_another_adapter_does_not_fit():
    build, task, _, batches = CASES["bert"]
    names = tracin.trainable_names(build(0))
    state = {name: build(1).state_dict()[name] for name in names}
    state.popitem()
    with pytest.raises(CheckpointMismatchError):
        estimator(build(0), [state], task, batches).influence()


def test_a_store_of_an_adapter_answers_as_the_model_does(tmp_path):
    build, task, loss, batches = CASES["bert"]
    states = [copy.deepcopy(build(seed).state_dict()) for seed in (1, 2)]
    made = estimator(build(0), states, task, batches)
    store = GradientStore.build(made, tmp_path / "store", dtype="float64")
    expected = expected_scores(build, loss, batches)
    torch.testing.assert_close(store.scores(batches(2, 2)), expected, rtol=1e-9, atol=1e-12)
    rows = items(batches(2, 2))
    torch.testing.assert_close(store.scores(rows), expected, rtol=1e-9, atol=1e-12)
    assert F.cosine_similarity(store.scores(rows), expected).min() > 0.999
