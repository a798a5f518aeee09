from palaver_operator.cli import main

main()
