(* Theorems on functions of natural numbers, with the decision procedure lia at hand. *)
Require Import Arith Lia.

Fixpoint double (n : nat) : nat :=
  match n with
  | 0 => 0
  | S m => S (S (double m))
  end.

Fixpoint sum (n : nat) : nat :=
  match n with
  | 0 => 0
  | S m => S m + sum m
  end.

Definition square (n : nat) : nat := n * n.

(* task: The double of three is six.
   wrong: unfold double.
   pass_rate: 0
   difficulty: hard *)
Theorem double_three : double 3 = 6.
Proof.
  reflexivity.
Qed.

(* task: The double of a number is its sum with itself.
   wrong: intros n. lia.
   wrong: intros n. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem double_is_sum : forall n : nat, double n = n + n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. lia.
Qed.

(* task: The double of a successor is two more than the double.
   wrong: intros n. induction n.
   pass_rate: 0
   difficulty: hard *)
Theorem double_successor : forall n : nat, double (S n) = S (S (double n)).
Proof.
  intros n.
  reflexivity.
Qed.

(* task: The sum of the numbers up to four is ten.
   wrong: unfold sum.
   pass_rate: 0
   difficulty: hard *)
Theorem sum_four : sum 4 = 10.
Proof.
  reflexivity.
Qed.

(* task: Twice the sum of the numbers up to n is n times its successor.
   wrong: intros n. lia.
   wrong: induction n. reflexivity. lia.
   pass_rate: 0
   difficulty: hard *)
Theorem sum_formula : forall n : nat, 2 * sum n = n * S n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - change (sum (S n)) with (S n + sum n). lia.
Qed.

(* task: The square of a product is the product of the squares.
   wrong: intros a b. unfold square. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem square_product : forall a b : nat, square (a * b) = square a * square b.
Proof.
  intros a b.
  unfold square.
  ring.
Qed.

(* task: A number that is larger than another one is not equal to it.
   wrong: intros a b H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem larger_not_equal : forall a b : nat, a > b -> a <> b.
Proof.
  intros a b H.
  lia.
Qed.

(* task: Of two numbers, one is at most the other.
   wrong: intros a b. left. lia.
   pass_rate: 0
   difficulty: hard *)
Theorem at_most_total : forall a b : nat, a <= b \/ b <= a.
Proof.
  intros a b.
  lia.
Qed.

(* task: What is subtracted after it was added leaves the number.
   wrong: intros a b. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem plus_minus : forall a b : nat, a + b - b = a.
Proof.
  intros a b.
  lia.
Qed.

(* task: A number minus itself is zero.
   wrong: intros n. reflexivity.
   pass_rate: 0.375
   difficulty: medium *)
Theorem minus_itself : forall n : nat, n - n = 0.
Proof.
  intros n.
  lia.
Qed.

(* task: A sum is at least its first part.
   wrong: intros a b. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem sum_at_least : forall a b : nat, a <= a + b.
Proof.
  intros a b.
  lia.
Qed.

(* task: If a sum is zero, then so is its first part.
   wrong: intros a b H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem sum_zero : forall a b : nat, a + b = 0 -> a = 0.
Proof.
  intros a b H.
  lia.
Qed.
