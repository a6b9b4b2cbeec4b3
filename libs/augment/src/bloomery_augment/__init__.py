"""Augmentation policies: which random changes the images of a training get, said by what the objects are like.

`policy` reads what people write, `rules` says what follows from it and why, both without any library of images;
`pipeline` does it, with the extra `transforms`.
"""
