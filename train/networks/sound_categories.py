"""The seven first categories of AudioSet, and which classes of ImageNet belong to them.

CoarseToFine names sounds and pictures by these categories. The grouping of ImageNet's classes is
ours, by their names: what a picture of the class makes one hear.
"""

import torch

# in the order of CoarseToFine's code
CATEGORIES = (
    "human",
    "source-ambiguous",
    "animal",
    "things",
    "music",
    "nature",
    "channel and environment",
)
_NUM_CLASSES = 1000  # of ImageNet
_REST = "source-ambiguous"  # containers, furniture, household goods, toys, food

# numbers of classes, in torchvision's order, and ranges of them
_CLASSES = {
    # people, and what they wear
    "human": """
        399 400 411 433 439 445 451 452 457 459 461 465 474 490 501 502 514 515 518 524 529 552 560
        568 578 584 601 608 610 614 615 617 630 638 639 643 652 655 658 667 678 679 689 697 715 735
        770 774 775 793 796 806 808 824 834 836 837 841 842 869 887 903 906 981-983
        """,
    "animal": "0-397",
    # vehicles, machines, tools, weapons, clocks
    "things": """
        403-405 407-409 413 417 436 444 450 466 468 471 472 476 479 480 484 487 491 508 510 511 517
        527 528 530 531 534 535 537 545 547 550 554 555 561 565 569 571 573 575 576 583 586 587 589
        590 592 595 596 603 606 609 612 613 620 621 625 627 628 651 654 656 657 661 662 665 670 671
        673 675 686 688 694 704 705 707 713 717 724 726 730 732 734 740 742 744 751 753 755 757 759
        760 761 763 764 766 780 786 800 802 803 810-812 814 817 820 826 827 829 833 847 856 859 864
        866 867 870 871 874 878 880 882 886 891 892 895 897 908 913 914
        """,
    "music": """
        401 402 420 432 486 494 513 541 542 546 558 566 577 579 593 594 641 642 683 684 687 699 776
        822 875 881 889
        """,
    # land and sea, plants, fungi
    "nature": "599 936-958 970-980 984-998",
    # buildings, rooms, fences, signs; what plays recordings
    "channel and environment": """
        406 410 415 421 424 425 437 442 448 449 454 460 467 481-483 485 489 497 498 500 509 525 536
        538 540 548 562 580-582 598 605 624 632 634 646 649 650 660 663 664 668 672 682 698 706 708
        716 718 727 743 745 754 762 782 788 789 799 819 821 825 832 839 848 851 853 854 858 860 863
        865 873 877 884 888 900 904 905 912 915 916 919 920
        """,
}


def group_imagenet_classes() -> torch.Tensor:
    """Return which classes belong to which category: (1000, 7), one 1 in each row."""
    category_of = torch.full((_NUM_CLASSES,), CATEGORIES.index(_REST))
    for name, text in _CLASSES.items():
        for part in text.split():
            # `281` is one class, `281-285` are five.
            first, _, last = part.partition("-")
            category_of[int(first) : int(last or first) + 1] = CATEGORIES.index(name)
    return torch.nn.functional.one_hot(category_of, len(CATEGORIES)).float()
