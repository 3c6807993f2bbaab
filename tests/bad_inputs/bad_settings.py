"""Settings of the right kind whose values cannot be."""

from __future__ import annotations

from bad_files import Bad

ABOVE_0 = "give a number above 0"
# A binding, what the error says of it, and the cure.
ALONE = {
    "Experiment.max_concurrent=0": ("max_concurrent is 0", "at least 1"),
    "Experiment.seed=-1": ("seed is -1", "from 0 to"),
    "Experiment.seed=99999999999999999999": ("seed is 9{20}", "from 0 to 4,294,967,295"),
    "Experiment.checkpoint_every=0": ("checkpoint_every is 0", "at least 1"),
    "Retry.text=' '": ("retry: text is empty", "give what the arm retry says"),
    "Experiment.data=0": ("'data': 0", "give positive ones"),
    "Experiment.fsdp=-1": ("'fsdp': -1", "at most one -1"),
    "Experiment.tensor=3": ("'tensor': 3} is not 8 devices", "sizes whose product is 8"),
    "Online.steps=-1": ("online: steps is -1", "at least 0"),
    "Online.problems_per_step=0": ("online: problems_per_step is 0", "at least 1"),
    "Online.group_size=1": ("online: group_size is 1", "needs 2"),
    "Grpo.discount=1.7": ("discount is 1.7", "from 0 to 1"),
    "Grpo.discount=1e999": ("discount is inf", "from 0 to 1"),
    "Grpo.aggregation=mean": ("aggregation is 'mean'", "choose one of 'sequence'"),
    "Online.max_turns=0": ("max_turns is 0", "at least 1"),
    "Online.buckets=()": ("online: buckets are", "give rising lengths"),
    "Online.buckets=(64, 32)": (r"online: buckets are \(64, 32\)", "give rising lengths"),
    "Online.buckets=(0, 64)": (r"online: buckets are \(0, 64\)", "give rising lengths"),
    "Online.name='a/b'": ("name is 'a/b'", "give letters"),
    "PolicyLoss.clip_low=-0.1": ("clip_low is -0.1", "give 0 or a positive number"),
    "PolicyLoss.kl_coef=1e999": ("kl_coef is inf", "give 0 or a positive number"),
    "online/adamw.learning_rate=-1.0": ("adamw: learning_rate is -1.0", "at least 0"),
    "online/adamw.learning_rate=1e999": ("adamw: learning_rate is inf", "finite"),
    "online/adamw.warmup_steps=-1": ("adamw: warmup_steps is -1", "at least 0"),
    "adamw.clip_norm=0.0": ("clip_norm is 0.0", "give a norm above 0"),
    "adamw.b1=1.0": ("b1 is 1.0", "from 0 to below 1"),
    "adamw.final_fraction=2.0": ("final_fraction is 2.0", "from 0 to 1"),
    "Sampling.temperature=-1.0": ("temperature is -1.0", "give 0 .greedy. or more"),
    "Sampling.temperature=1e999": ("temperature is inf", "give 0 .greedy. or more"),
    "Sampling.top_k=-1": ("top_k is -1", "give 0 .all. or more"),
    "Sampling.top_p=0.0": ("top_p is 0.0", ABOVE_0),
    "DialogueRules.max_turns=0": ("max_turns is 0", "at least 1"),
    "DialogueRules.private_tokens=-1": ("private_tokens is -1", "at least 0"),
    "Suite.arms=()": ("suite: arms: no arms", "take some, such as .@teachers.Feedback"),
    "Suite.arms=(@teachers.Retry(), @teachers.Retry())": ("suite: arms: an arm stands twice", "give each once"),
    "Suite.problems=0": ("suite: problems is 0", "at least 1"),
    "Suite.max_turns=0": ("suite: max_turns is 0", "at least 1"),
    "Suite.split='tset'": ("no split 'tset'", 'take "train" or "test"'),
    "Suite.split='train'": ("every one of the 40 train problems of pocket_math", "train on other problems"),
    "PocketMath.train_size=0": ("train_size is 0", "give from 1 to 500,000"),
    "PocketMath.test_size=100000000": ("test_size is 1", "give from 1 to 50,000"),
    "DecoderConfig.vocab_size=100": ("vocabulary of 100 tokens but the tokenizer has 388", "give the tokenizer"),
    "DecoderConfig.embed_dim=0": ("embed_dim is 0", "at least 1"),
    "DecoderConfig.kv_heads=3": (r"heads \(2\)", "multiple of kv_heads"),
    "DecoderConfig.head_dim=7": ("head_dim is 7", "even number"),
    "DecoderConfig.activation=relu": ("activation is 'relu'", "it takes 'silu', 'gelu'"),
    "DecoderConfig.dtype=float16": ("dtype is 'float16'", "it takes 'float32'"),
    "DecoderConfig.attention=flash": ("attention is 'flash'", "it takes 'auto', 'xla', 'cudnn', 'splash'"),
    "DecoderConfig.layer_pattern=('sideways',)": ("layer_pattern is", 'it takes "global", "local" and "delta"'),
    "DecoderConfig.layer_pattern=('local',)": ("window is 0", "need at least 1"),
    "DecoderConfig.rope_base=0.0": ("rope_base is 0.0", ABOVE_0),
    "DecoderConfig.norm_eps=-1.0": ("norm_eps is -1.0", ABOVE_0),
    "DecoderConfig.scan_unroll=0": ("scan_unroll is 0", "at least 1"),
    "RoleChat.tokenizer=no.model": ("no tokenizer at no.model", "give the path of a SentencePiece"),
}
# What is seen only beside the model; spaces part bindings.
WITH_MODEL = {
    "Pretrained.overrides={'max_length':64}": ("the model's max_length is 64", "fewer turns .max_turns."),
    "DialogueRules.max_turns=400": ("contexts of 23173 tokens", "fewer turns .max_turns."),
    "Online.buckets=(8,16)": ("online: buckets end at 16", "add a larger one"),
    "Experiment.max_concurrent=12": ("12 rows do not divide over 8 shards", "give a multiple of 8"),
    "Experiment.model_labels=True": ("model_labels is for chat models", "bind Experiment.chat"),
    "Experiment.suites=[@suites.Suite(),@suites.Suite()]": ("two suites are of the task pocket_math", "give each"),
    "Experiment.data=1 Experiment.fsdp=1 Experiment.tensor=8": ("which tensor=8 does not divide", "another"),
}
LORA = "DecoderConfig.lora=@config.LoraConfig()"
WITH_OTHERS = {
    (LORA, "LoraConfig.rank=0"): ("lora: rank is 0", "at least 1"),
    (LORA, "LoraConfig.alpha=-1.0"): ("lora: alpha is -1.0", ABOVE_0),
    (LORA, "LoraConfig.targets=('q_proj',)"): ("targets hold .'q_proj'.", "they take 'query'"),
    (LORA, "LoraConfig.rank=2"): ("DecoderConfig.lora is given", "bind RandomWeights.lora"),
    ("DialogueRules.injection=@rules.QuestionInjection()", "QuestionInjection.decay=2.0"): (
        "decay is 2.0",
        "probability",
    ),
    ("DialogueRules.guard=@rules.LeakGuard()", "LeakGuard.regenerations=-1"): ("regenerations is -1", "at least 0"),
    ("DialogueRules.guard=@rules.LeakGuard()", "LeakGuard.redaction=''"): (
        "redaction is empty",
        "give the text",
    ),
}
TABLE = {
    **{one: Bad(lambda f, one=one: f.train(one), *said) for one, said in ALONE.items()},
    **{one: Bad(lambda f, one=one: f.train(*f.base(), *one.split()), *said) for one, said in WITH_MODEL.items()},
    **{" ".join(more): Bad(lambda f, more=more: f.train(*more), *said) for more, said in WITH_OTHERS.items()},
}
