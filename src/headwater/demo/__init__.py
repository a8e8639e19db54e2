"""The demo: wrong labels found and predictions explained on real images, in about a minute.

A small CNN learns scikit-learn's handwritten digits, a tenth of whose training labels were flipped
on purpose. TracInCP then ranks the training set by self-influence, which brings the flipped labels
to the top, and names for ten test images the training images that helped and hurt most.

Run it with `python -m headwater.demo`; it needs the `demo` extra.
"""
