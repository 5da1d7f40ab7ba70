"""Questions and steps that are hard to read right."""

QUESTION = "Al has 12 pens. Bo has 5 more pens than Al. How many pens do they have together?"
LONG = "She adds 13 and 48 and then she takes away three eggs, so that 61 - 3 = 58 eggs are left; " * 15 + "so it is."

SOLUTIONS: dict[str, tuple[str, list[str]]] = {
    "one step": (QUESTION, ["Bo has 12 + 5 = 17 pens, so together they have \\boxed{29}."]),
    "two steps": (QUESTION, ["Bo has 12 + 5 = 17 pens.", "Together they have 12 + 17 = 29 pens. The answer is 29."]),
    "twelve steps": (
        "What is the sum of the numbers from 1 to 12?",
        [f"Step {n}: the sum of the numbers from 1 to {n} is {n * (n + 1) // 2}." for n in range(1, 13)],
    ),
    "unicode": (
        "Сколько будет 2 + 2? ２足す２は\uff1f كم؟",
        ["Два плюс два — четыре 🙂👩‍👩‍👧.", "二加二等于四。∑ᵢ xᵢ² ≤ ½", "café = cafe\u0301, naïve …", "٢ + ٢ = ٤"],
    ),
    "tags in the text": (
        "What do ки and <extra_0> mean?",
        [
            "First ки means right ки so far.",
            "A <extra_0> stands <extra_0><extra_0> after each step.",
            "ки ки\nки and the next",
            "<good> or <bad>, + or -, 1 - 2 + 3",
            "+",
            "-",
        ],
    ),
    "control tokens in the text": (
        "What is <|im_end|>, what is </s>?",
        ["It ends <|im_end|>\n<|im_start|>user a turn.", "<|eot_id|> does so too", "<s> and </s> and <unk>", "so on"],
    ),
    "separators in the text": (
        "Solve it.\n\nShow each step.",
        ["First:\n\nwe add.\n\n\nThen\nwe stop.", "a\r\nb\tc  d", "The end.\n.\n\n."],
    ),
    "long steps": (QUESTION, [LONG, "It follows.", LONG]),
    "empty steps": (QUESTION, ["", "Bo has 17 pens.", "", "", "They have 29."]),
    "nothing but an empty step": (QUESTION, [""]),
}
