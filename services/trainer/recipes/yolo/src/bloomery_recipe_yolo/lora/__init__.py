"""Training a small adapter of a model that stays as it is: LoRA, LoHa and LoKr on YOLO, by PEFT."""
